//! What AWS Health says about instances: changes that EC2 has scheduled, and hardware that fails under them.
//!
//! A code's words say what it asks for, so that codes we have never seen are sorted too:
//!
//! | words of the code                    | scheduledChange             | issue                            |
//! |--------------------------------------|-----------------------------|----------------------------------|
//! | _PLANNED_LIFECYCLE_EVENT, _COMPLETED | nothing takes place by then | nothing                          |
//! | RETIREMENT, DEGRADED, DEGRADATION    | leave at once               | leave at once; nobody says when  |
//! | any others                           | leave before the start time | nothing                          |
//!
//! Events of all other categories ask nothing.
//!
//! An event may come in pages; each is a message of its own with its own entities, and all of them bear one `eventArn`,
//! so nothing needs to be joined. An event about a dedicated host is taken at its word like any other: the instances
//! that it names are affected, and where it names hosts only there is nothing to look into.

use super::field::Object;
use super::{Envelope, EventError, Ignored, Parsed, account, ignored, instant, region};
use crate::id::{InstanceId, shorten};
use crate::signal::{Cause, Due, Interruption, Maintenance, SignalKind, Urgency};
use std::collections::BTreeSet;

const HEALTH: &str = "AWS Health Event";

/// Words of codes that say that the hardware fails, or is given up.
const FAILING: [&str; 3] = ["RETIREMENT", "DEGRADED", "DEGRADATION"];
/// Words of codes that interrupt nothing: an end of support that people must plan for, or a change that is over.
const INFORMATIONAL: [&str; 2] = ["_PLANNED_LIFECYCLE_EVENT", "_COMPLETED"];
/// Entity states of instances to which nothing will happen any more.
const SETTLED: [&str; 2] = ["RESOLVED", "UNIMPAIRED"];

/// The longest `eventArn` and `eventTypeCode` in the Health API.
const ARN_CHARACTERS_MAX: usize = 1600;
const CODE_CHARACTERS_MAX: usize = 100;

/// An event of source `aws.health`.
pub(super) fn event(
    detail_type: &str,
    body: &Object<'_>,
    envelope: &Envelope,
) -> Result<Parsed, EventError> {
    if detail_type != HEALTH {
        return Ok(ignored(Ignored::OtherDetailType(shorten(detail_type))));
    }
    let detail = body.object("detail")?;
    let service = detail.required("service", "a service, such as EC2")?;
    if service != "EC2" {
        return Ok(ignored(Ignored::OtherService(shorten(service))));
    }
    if let Some(other) = other_region(&detail, envelope) {
        return Ok(ignored(Ignored::OtherRegion(shorten(other))));
    }
    let code = code(&detail)?;
    let category = detail.required("eventTypeCategory", "a category, such as scheduledChange")?;
    let Some(urgency) = urgency(category, code) else {
        return Ok(ignored(Ignored::Informational(code.to_owned())));
    };
    // An issue has no appointed time: it began at `startTime`.
    let due = match category {
        "scheduledChange" => instant(detail.loose("startTime")).map_or(Due::Unknown, Due::At),
        _ => Due::Unknown,
    };
    // In an organization's view the event is sent to another account than the one it is about.
    let mut envelope = envelope.clone();
    envelope.account = account(detail.loose("affectedAccount")).or(envelope.account);
    let arn = arn(&detail)?.to_owned();
    let closed = detail.loose("statusCode") == Some("closed");
    let signals: Vec<_> = affected(body, &detail)?
        .into_iter()
        .map(|Affected { instance, settled }| {
            let (arn, code) = (arn.clone(), code.to_owned());
            let maintenance = Maintenance { arn, code, urgency, closed: closed || settled };
            let interruption = Interruption { cause: Cause::Maintenance(maintenance), due };
            envelope.signal(instance, SignalKind::Interruption(interruption))
        })
        .collect();
    if signals.is_empty() {
        return Ok(ignored(Ignored::NoInstance(code.to_owned())));
    }
    Ok(Parsed::Signals(signals))
}

/// The region that the event is about, if it was delivered to another one: a copy for the backup region. Without
/// `eventRegion` only `backupEvent` tells a copy.
fn other_region<'a>(detail: &Object<'a>, envelope: &Envelope) -> Option<&'a str> {
    let Some(about) = detail.loose("eventRegion") else {
        let is_backup = detail.loose("backupEvent") == Some("true");
        return is_backup.then_some("unknown");
    };
    let here = envelope.region.as_deref()?;
    region(Some(about)).is_some_and(|about| about != here).then_some(about)
}

/// What an event of this category and code asks for; `None` if it only informs.
fn urgency(category: &str, code: &str) -> Option<Urgency> {
    let says = |words: &[&str]| words.iter().any(|word| code.contains(word));
    if says(&INFORMATIONAL) {
        return None;
    }
    match category {
        "scheduledChange" | "issue" if says(&FAILING) => Some(Urgency::AtOnce),
        "scheduledChange" => Some(Urgency::AtStart),
        _ => None,
    }
}

fn code<'a>(detail: &Object<'a>) -> Result<&'a str, EventError> {
    let (key, expected) = ("eventTypeCode", "3 to 100 letters, digits, underscores and hyphens");
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let code = detail.required(key, expected)?;
    if (3..=CODE_CHARACTERS_MAX).contains(&code.len()) && code.bytes().all(allowed) {
        Ok(code)
    } else {
        Err(detail.mismatch(key, expected.to_owned()))
    }
}

/// Required: without it an announcement could not be told from another, nor be undone.
fn arn<'a>(detail: &Object<'a>) -> Result<&'a str, EventError> {
    let (key, expected) =
        ("eventArn", "an ARN of at most 1600 printable characters, such as arn:aws:health:…");
    let arn = detail.required(key, expected)?;
    let printable = arn.bytes().all(|byte| byte.is_ascii_graphic());
    if arn.starts_with("arn:") && arn.len() <= ARN_CHARACTERS_MAX && printable {
        Ok(arn)
    } else {
        Err(detail.mismatch(key, expected.to_owned()))
    }
}

/// One instance of an event.
struct Affected {
    instance: InstanceId,
    /// Health lists it still, but nothing will happen to it any more.
    settled: bool,
}

/// The instances among the entities, or else among the resources, each once and in order.
fn affected(body: &Object<'_>, detail: &Object<'_>) -> Result<Vec<Affected>, EventError> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for entity in detail.objects("affectedEntities")? {
        let Some(instance) = entity.loose("entityValue").and_then(instance) else { continue };
        let settled = entity.loose("status").is_some_and(|status| SETTLED.contains(&status));
        if seen.insert(instance.clone()) {
            found.push(Affected { instance, settled });
        }
    }
    if found.is_empty() {
        let resources = body.texts("resources").into_iter().filter_map(instance);
        for instance in resources.filter(|instance| seen.insert(instance.clone())) {
            found.push(Affected { instance, settled: false });
        }
    }
    Ok(found)
}

/// An instance's bare id, or the one in its ARN (`arn:aws:ec2:REGION:ACCOUNT:instance/ID`).
fn instance(text: &str) -> Option<InstanceId> {
    let id = match text.strip_prefix("arn:") {
        Some(rest) if rest.split(':').nth(1) == Some("ec2") => rest.rsplit_once(":instance/")?.1,
        Some(_) => return None,
        None => text,
    };
    InstanceId::parse(id).ok()
}
