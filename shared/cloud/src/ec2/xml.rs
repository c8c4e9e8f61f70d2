//! EC2's answers, as XML: what we need of DescribeInstances, and errors in EC2's own words.

use crate::error::AnswerError;
use aws_smithy_runtime_api::client::orchestrator::{HttpResponse, OrchestratorError};
use aws_smithy_types::error::metadata::{ErrorMetadata, ProvideErrorMetadata};
use decision::id::InstanceId;
use decision::snapshot::aws::{Instance, InstanceState};
use decision::time::Timestamp;
use serde::Deserialize;
use std::fmt;
use std::sync::Arc;

/// An answer other than 200. Its code and message are those of the body, as far as it has them.
#[derive(Debug)]
pub(crate) struct ServiceError(ErrorMetadata);

impl fmt::Display for ServiceError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

impl std::error::Error for ServiceError {}

impl ProvideErrorMetadata for ServiceError {
    fn meta(&self) -> &ErrorMetadata {
        &self.0
    }
}

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

/// The body of a good answer as text, or what EC2 says went wrong.
pub(crate) fn body(response: &HttpResponse) -> Result<String, OrchestratorError<ServiceError>> {
    let bytes = response.body().bytes().unwrap_or_default();
    let text = String::from_utf8_lossy(bytes).into_owned();
    if response.status().is_success() {
        Ok(text)
    } else {
        Err(OrchestratorError::operation(ServiceError(refusal(&text))))
    }
}

/// Something in between (a proxy, a load balancer) may answer with another body, or none.
fn refusal(text: &str) -> ErrorMetadata {
    let parsed: Option<ErrorResponse> = quick_xml::de::from_str(text).ok();
    let first = parsed.and_then(|response| response.errors.error.into_iter().next());
    match first {
        Some(error) => ErrorMetadata::builder().code(error.code).message(error.message).build(),
        None => ErrorMetadata::builder().build(),
    }
}

/// The instances of one page of DescribeInstances, and the token of the next one.
pub(crate) fn instances(text: &str) -> Result<(Vec<Instance>, Option<String>), AnswerError> {
    let response: DescribeInstancesResponse =
        quick_xml::de::from_str(text).map_err(|error| AnswerError::Body(Arc::new(error)))?;
    let reservations = response.reservation_set.item.into_iter();
    let described = reservations.flat_map(|reservation| reservation.instances_set.item);
    Ok((described.map(instance).collect::<Result<_, _>>()?, response.next_token))
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
