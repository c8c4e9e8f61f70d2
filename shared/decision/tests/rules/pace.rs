//! How often a departure is looked at: rarely enough for the queue, often enough for its heartbeat.

use crate::world::{SENT, act, after, departing, instance, millis, secs};
use decision::decide::decide;
use decision::decision::Next;
use decision::limits::{
    ANSWER_MARGIN, EVICTION_COLLIDED, EVICTION_PAUSE_MAX, EVICTION_PAUSE_MIN, LOOK_EVERY,
    LOOK_EVERY_LATER, RECEIVES_MAX,
};
use decision::pace::{eviction_pause, evictions_end, jitter, look};
use decision::time::Timestamp;
use proptest::{prop_assert, proptest};
use std::time::Duration;

/// What is due within this time is waited for in the invocation, so it costs no receive.
const STAY_FOR: Duration = Duration::from_millis(2_500);

/// The receives that the looks of a whole lifecycle action cost, and the longest wait between two of them.
fn receives(heartbeat: u64) -> (u32, Duration) {
    let ends = after((heartbeat * 100).min(172_800));
    let (mut now, mut receives, mut longest) = (SENT, 0, Duration::ZERO);
    while now < ends {
        let next = look(now, SENT, Some(secs(heartbeat)));
        let wait = next.since(now);
        receives += u32::from(wait > STAY_FOR);
        longest = longest.max(wait);
        now = next;
    }
    (receives, longest)
}

#[test]
fn the_looks_of_a_whole_action_stay_far_below_the_receives_that_the_queue_allows() {
    for heartbeat in (120..=7_200).step_by(10) {
        let (receives, longest) = receives(heartbeat);
        assert!(
            receives < 650 && 650 < RECEIVES_MAX - 200,
            "heartbeat {heartbeat} s: {receives} receives"
        );
        assert!(
            longest < secs(heartbeat) / 2,
            "heartbeat {heartbeat} s: {longest:?} between two looks"
        );
    }
}

#[test]
fn each_pace_lasts_until_its_age_and_no_longer() {
    for (index, (until, every)) in LOOK_EVERY.iter().enumerate() {
        let next = LOOK_EVERY.get(index + 1).map_or(LOOK_EVERY_LATER, |(_, every)| *every);
        let before = SENT + *until - Duration::from_millis(1);
        assert_eq!(look(before, SENT, None), before + *every, "one millisecond before {until:?}");
        assert_eq!(look(SENT + *until, SENT, None), SENT + *until + next, "at {until:?}");
    }
    assert_eq!(
        look(SENT, after(60), None),
        SENT + LOOK_EVERY[0].1,
        "a signal from the future is new"
    );
}

#[test]
fn paces_only_grow() {
    let every: Vec<Duration> =
        LOOK_EVERY.iter().map(|(_, every)| *every).chain([LOOK_EVERY_LATER]).collect();
    assert!(every.is_sorted(), "{every:?}");
}

proptest! {
    #[test]
    fn jitter_stays_within_its_span_and_has_no_chance_in_it(number in 0_usize..1_000, receives in 0_u32..1_000, span in 0_u64..100_000) {
        let span = Duration::from_millis(span);
        let drawn = jitter(&instance(number), receives, span);
        prop_assert!(drawn < span.max(Duration::from_millis(1)));
        prop_assert!(drawn == jitter(&instance(number), receives, span));
    }
}

#[test]
fn jitter_spreads() {
    let drawn = |number| jitter(&instance(number), 1, secs(10)).as_secs();
    let tenths: std::collections::BTreeSet<u64> = (0..200).map(drawn).collect();
    assert_eq!(tenths.len(), 10, "two hundred instances fill ten seconds");
}

#[test]
fn an_eviction_is_paused_for_by_how_the_one_before_it_fared() {
    let (collided, free) = (EVICTION_COLLIDED, EVICTION_COLLIDED - millis(1));
    let rows = [
        ("nothing collided", Duration::ZERO, free, Duration::ZERO),
        ("the first collision", Duration::ZERO, collided, EVICTION_PAUSE_MIN),
        ("a later one", millis(1_000), collided, millis(1_500)),
        ("the longest", EVICTION_PAUSE_MAX, collided, EVICTION_PAUSE_MAX),
        ("free again", millis(1_000), free, millis(500)),
        ("for good", EVICTION_PAUSE_MIN - millis(1), free, Duration::ZERO),
    ];
    for (name, before, took, pause) in rows {
        assert_eq!(eviction_pause(before, took), pause, "{name}");
    }
}

#[test]
fn where_every_second_eviction_collides_by_chance_nobody_waits_long() {
    let (mut pause, mut longest) = (Duration::ZERO, Duration::ZERO);
    for number in 0..1_000 {
        let took = if number % 2 == 0 { EVICTION_COLLIDED } else { Duration::ZERO };
        pause = eviction_pause(pause, took);
        longest = longest.max(pause);
    }
    assert!(longest < secs(1), "{longest:?}");
}

#[test]
fn evictions_are_over_before_a_hook_of_the_batch_is_to_be_answered() {
    let now = after(0);
    let by = |at: Option<Timestamp>| {
        let mut decision = decide(&departing(), &act());
        decision.report.answer_by = at;
        decision
    };
    let rows = [
        ("one hook", vec![by(Some(after(60)))], Some(after(55))),
        ("nobody waits", vec![by(None)], None),
        ("it was missed", vec![by(Some(now))], None),
        ("a moment is left", vec![by(Some(now + millis(1)))], Some(now + millis(1) - secs(5))),
        ("the earliest counts", vec![by(Some(after(60))), by(Some(after(30)))], Some(after(25))),
        ("a missed one is no other's", vec![by(Some(now)), by(Some(after(60)))], Some(after(55))),
    ];
    for (name, decisions, end) in rows {
        assert_eq!(evictions_end(&decisions, now), end, "{name}");
    }
}

#[test]
fn the_hooks_own_deadline_is_the_one_to_answer_by() {
    let mut held = departing();
    let own = decide(&held, &act()).report;
    assert_eq!(own.answer_by, own.hard, "its only signal");
    let mut both = held.clone();
    let warned = crate::interruption::leaving(crate::interruption::two_minutes());
    both.signals.extend(warned.signals.clone());
    let shared = decide(&both, &act()).report;
    assert_eq!((shared.hard, shared.answer_by), (Some(after(120)), own.answer_by));
    held.now = own.answer_by.unwrap() - ANSWER_MARGIN;
    let last = decide(&held, &act());
    assert!(matches!(last.answers[0].next, Next::Answer { .. }), "{last:?}");
    assert_eq!(last.report.answer_by, own.answer_by, "it is answered in this turn");
    assert_eq!(decide(&warned, &act()).report.answer_by, None, "nobody waits for an answer");
}
