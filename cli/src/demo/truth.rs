//! What a file's body says, made true of the simulated world.
//!
//! An event tells of a moment that the file can't know: a lifecycle action's token is the world's, and so is the time at
//! which anything happens. All times in a body move together, so that what is announced stays as far ahead as it was.

use decision::time::Timestamp;
use serde_json::Value;
use std::time::Duration;

/// When the sender's envelopes say that they were sent.
const SENT: [&str; 3] = ["time", "Time", "Timestamp"];
/// Times in the detail of an interruption.
const TIMES: [&str; 5] =
    ["instance-termination-time", "end-date", "startTime", "endTime", "lastUpdatedTime"];

/// The body with the token and the time of the world's own lifecycle action in the place of the file's, in whatever
/// shape it comes: an envelope's `detail`, flat, or the text in an SNS `Message`.
pub(crate) fn of_action(body: &str, token: &str, time: &str) -> String {
    edited(body, &|value| {
        replace(value, "LifecycleActionToken", token);
        if let Some(detail) = value.get_mut("detail") {
            replace(detail, "LifecycleActionToken", token);
        }
        for key in SENT {
            replace(value, key, time);
        }
    })
}

/// The body of an interruption that the file tells of at `told`, as if it were told at `now`, whole seconds both. Where
/// the file does not say when it was told, its other times stand.
pub(crate) fn of_interruption(body: &str, told: Option<Timestamp>, now: Timestamp) -> String {
    let moved = |text: &str| {
        let at = Timestamp::parse_any(text).ok()?;
        let told = told?;
        let at = if at < told { now - told.since(at) } else { now + told.until(at) };
        Some(written(at, text))
    };
    edited(body, &|value| {
        for key in SENT {
            replace(value, key, &now.to_string());
        }
        let Some(detail) = value.get_mut("detail") else { return };
        move_times(detail, &moved);
        let entities = detail.get_mut("affectedEntities").and_then(Value::as_array_mut);
        for entity in entities.into_iter().flatten() {
            move_times(entity, &moved);
        }
    })
}

/// The body with another end of its capacity block: AWS always warns 40 minutes before it.
pub(crate) fn ending_at(body: &str, end: &str) -> String {
    edited(body, &|value| {
        if let Some(detail) = value.get_mut("detail") {
            replace(detail, "end-date", end);
        }
    })
}

/// The object, or the one in an SNS `Message` and what wraps it, edited; what is no JSON stays as it is.
fn edited(body: &str, edit: &dyn Fn(&mut Value)) -> String {
    let Ok(mut value) = serde_json::from_str::<Value>(body) else { return body.to_owned() };
    let wrapped = value.get("Message").and_then(Value::as_str).map(|inner| edited(inner, edit));
    if let Some(inner) = wrapped {
        value["Message"] = inner.into();
    }
    edit(&mut value);
    value.to_string()
}

fn replace(object: &mut Value, key: &str, text: &str) {
    if let Some(value) = object.get_mut(key) {
        *value = text.into();
    }
}

fn move_times(object: &mut Value, moved: &dyn Fn(&str) -> Option<String>) {
    for key in TIMES {
        let text = object.get(key).and_then(Value::as_str).and_then(moved);
        if let Some(text) = text {
            replace(object, key, &text);
        }
    }
}

/// A time in the form of another: RFC 3339, or as AWS Health writes it.
fn written(at: Timestamp, like: &str) -> String {
    if Timestamp::parse_rfc3339(like).is_ok() {
        return at.to_string();
    }
    let time = jiff::Timestamp::from_millisecond(at.millis()).unwrap_or(jiff::Timestamp::MAX);
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// The instant of a world, in whole seconds as EventBridge writes it.
pub(crate) fn whole_second(millis: i64) -> Timestamp {
    let at = Timestamp::from_millis(millis);
    at - Duration::from_millis(u64::try_from(millis.rem_euclid(1_000)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::{of_action, of_interruption, whole_second};
    use decision::time::Timestamp;

    #[test]
    fn token_and_time_are_the_worlds_in_every_shape() {
        let rows = [
            (
                "envelope",
                r#"{"time":"t","detail":{"LifecycleActionToken":"old","EC2InstanceId":"i-1"}}"#,
                r#"{"detail":{"EC2InstanceId":"i-1","LifecycleActionToken":"new"},"time":"now"}"#,
            ),
            (
                "flat",
                r#"{"Time":"t","LifecycleActionToken":"old"}"#,
                r#"{"LifecycleActionToken":"new","Time":"now"}"#,
            ),
            (
                "wrapped",
                r#"{"Message":"{\"LifecycleActionToken\":\"old\"}","Timestamp":"t"}"#,
                r#"{"Message":"{\"LifecycleActionToken\":\"new\"}","Timestamp":"now"}"#,
            ),
            ("nothing of it", r#"{"Event":"x"}"#, r#"{"Event":"x"}"#),
            ("no JSON", "{", "{"),
        ];
        for (name, body, expected) in rows {
            assert_eq!(of_action(body, "new", "now"), expected, "{name}");
        }
    }

    #[test]
    fn what_is_announced_stays_as_far_ahead() {
        let told = Timestamp::parse_rfc3339("2026-11-22T09:30:00Z").ok();
        let now = Timestamp::parse_rfc3339("2026-11-22T09:29:00Z").expect("a time");
        let rows = [
            (
                "a termination",
                told,
                r#"{"time":"2026-11-22T09:30:00Z","detail":{"instance-termination-time":"2026-11-22T09:32:00Z"}}"#,
                r#"{"detail":{"instance-termination-time":"2026-11-22T09:31:00Z"},"time":"2026-11-22T09:29:00Z"}"#,
            ),
            (
                "a change, as Health writes it, with what came before",
                told,
                r#"{"time":"x","detail":{"startTime":"Sun, 06 Dec 2026 09:30:00 GMT","affectedEntities":[{"lastUpdatedTime":"Sun, 22 Nov 2026 09:29:41 GMT"}]}}"#,
                r#"{"detail":{"affectedEntities":[{"lastUpdatedTime":"Sun, 22 Nov 2026 09:28:41 GMT"}],"startTime":"Sun, 06 Dec 2026 09:29:00 GMT"},"time":"2026-11-22T09:29:00Z"}"#,
            ),
            (
                "nobody says when it was told",
                None,
                r#"{"time":"x","detail":{"end-date":"2026-11-22T09:32:00Z"}}"#,
                r#"{"detail":{"end-date":"2026-11-22T09:32:00Z"},"time":"2026-11-22T09:29:00Z"}"#,
            ),
            (
                "no time at all",
                told,
                r#"{"detail":{"startTime":"soon"}}"#,
                r#"{"detail":{"startTime":"soon"}}"#,
            ),
        ];
        for (name, told, body, expected) in rows {
            assert_eq!(of_interruption(body, told, now), expected, "{name}");
        }
        assert_eq!(whole_second(now.millis() + 999), now);
    }
}
