//! EC2's answers, as XML: what we need of DescribeInstances and DescribeInstanceStatus, and errors in
//! EC2's own words.
//!
//! A list that is empty may be an empty element or none at all; elements that we do not need are passed
//! over, in whichever order they come.

use crate::error::AnswerError;
use aws_smithy_types::error::metadata::ErrorMetadata;
use decision::id::InstanceId;
use decision::snapshot::aws::{Instance, InstanceState};
use decision::time::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// What one page of a list holds, and the token of the next one.
pub(crate) type Page<T> = Result<(Vec<T>, Option<String>), AnswerError>;

/// How the description of a scheduled event begins that will not happen (any more).
const OVER: [&str; 2] = ["[Completed]", "[Canceled]"];

/// A list as EC2 writes it: `<set><item>…</item><item>…</item></set>`.
#[derive(Debug, Deserialize)]
struct Items<T> {
    #[serde(default = "Vec::new")]
    item: Vec<T>,
}

impl<T> Default for Items<T> {
    fn default() -> Self {
        Self { item: Vec::new() }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DescribeInstancesResponse {
    #[serde(default)]
    reservation_set: Items<Reservation>,
    next_token: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reservation {
    #[serde(default)]
    instances_set: Items<Described>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Described {
    instance_id: String,
    instance_state: Named,
    private_dns_name: Option<String>,
    launch_time: Option<String>,
    #[serde(default)]
    tag_set: Items<Tag>,
}

#[derive(Debug, Deserialize)]
struct Named {
    name: String,
}

#[derive(Debug, Deserialize)]
struct Tag {
    key: String,
    #[serde(default)]
    value: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DescribeInstanceStatusResponse {
    #[serde(default)]
    instance_status_set: Items<Status>,
    next_token: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    instance_id: String,
    #[serde(default)]
    events_set: Items<ScheduledEvent>,
}

#[derive(Debug, Deserialize)]
struct ScheduledEvent {
    description: Option<String>,
}

#[derive(Debug, Deserialize)]
struct ErrorResponse {
    #[serde(rename = "Errors")]
    errors: Errors,
}

#[derive(Debug, Deserialize)]
struct Errors {
    #[serde(rename = "Error")]
    error: Vec<ErrorBody>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ErrorBody {
    code: String,
    #[serde(default)]
    message: String,
}

/// Code and message of an error; neither when the body is not EC2's.
pub(crate) fn refusal(text: &str) -> ErrorMetadata {
    let parsed: Option<ErrorResponse> = quick_xml::de::from_str(text).ok();
    let first = parsed.and_then(|response| response.errors.error.into_iter().next());
    match first {
        Some(error) => ErrorMetadata::builder().code(error.code).message(error.message).build(),
        None => ErrorMetadata::builder().build(),
    }
}

/// The instances on one page of DescribeInstances.
pub(crate) fn instances(text: &str) -> Page<Instance> {
    let response: DescribeInstancesResponse = parse(text)?;
    let reservations = response.reservation_set.item.into_iter();
    let described = reservations.flat_map(|reservation| reservation.instances_set.item);
    Ok((described.map(instance).collect::<Result<_, _>>()?, response.next_token))
}

/// The instances on one page of DescribeInstanceStatus that have an event ahead of them.
pub(crate) fn scheduled(text: &str) -> Page<InstanceId> {
    let response: DescribeInstanceStatusResponse = parse(text)?;
    let statuses = response.instance_status_set.item.into_iter();
    let scheduled = statuses.filter(|status| status.events_set.item.iter().any(is_ahead));
    let ids: Result<_, _> =
        scheduled.map(|status| InstanceId::parse(&status.instance_id)).collect();
    Ok((ids?, response.next_token))
}

/// EC2 shows an event for a week after its end, and says only in its description that it is over.
fn is_ahead(event: &ScheduledEvent) -> bool {
    let description = event.description.as_deref().unwrap_or_default();
    !OVER.iter().any(|mark| description.starts_with(mark))
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T, AnswerError> {
    quick_xml::de::from_str(text).map_err(|error| AnswerError::Body(Arc::new(error)))
}

fn instance(described: Described) -> Result<Instance, AnswerError> {
    let launched_at = described.launch_time.as_deref().map(|text| {
        Timestamp::parse_rfc3339(text)
            .map_err(|_| AnswerError::Unknown { what: "launchTime", value: text.to_owned() })
    });
    Ok(Instance {
        id: InstanceId::parse(&described.instance_id)?,
        state: state(&described.instance_state.name)?,
        private_dns: described.private_dns_name.filter(|name| !name.is_empty()),
        tags: described.tag_set.item.into_iter().map(|tag| (tag.key, tag.value)).collect(),
        launched_at: launched_at.transpose()?,
    })
}

fn state(text: &str) -> Result<InstanceState, AnswerError> {
    match text {
        "pending" => Ok(InstanceState::Pending),
        "running" => Ok(InstanceState::Running),
        "stopping" => Ok(InstanceState::Stopping),
        "stopped" => Ok(InstanceState::Stopped),
        "shutting-down" => Ok(InstanceState::ShuttingDown),
        "terminated" => Ok(InstanceState::Terminated),
        _ => Err(AnswerError::Unknown { what: "instance state", value: text.to_owned() }),
    }
}
