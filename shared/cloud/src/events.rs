//! EventBridge: events of our own on an event bus, from there to whoever wants to know.
//!
//! PutEvents is the one call, in AWS JSON 1.1. It answers 200 even where it took nothing: each entry has
//! its own result, in the order of the request.
//!
//! Lambda's recursion detection does not see past an event bus, so nothing ends a loop for us: a rule for
//! [`SOURCE`] must never send to a queue that feeds the functions.

use crate::clients::Settings;
use crate::error::{AnswerError, Call, CloudError, Refusal};
use crate::signed::{Service, Signed};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::error::metadata::ErrorMetadata;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

/// The `source` of every event that we send.
pub const SOURCE: &str = "ebbtide";

/// Entries in one request: what EventBridge takes at most.
const ENTRIES_MAX: usize = 10;

/// Bytes of all the entries in one request, which must be fewer. Some partitions take 1 MiB since 2026,
/// but every one takes this, and so does a queue as a rule's target.
const REQUEST_BYTES_MAX: usize = 262_144;

/// The envelope that EventBridge puts around a detail: some 250 bytes of keys, id, account, time and
/// region. It counts; half of it might let an event through that is refused.
const ENVELOPE_BYTES: usize = 512;

/// The operation, as AWS JSON names it.
const TARGET: &str = "AWSEvents.PutEvents";

/// What calls EventBridge.
#[derive(Clone, Debug)]
pub struct Events(Signed);

impl Events {
    /// Builds the client; makes no call.
    pub fn new(settings: &Settings) -> Self {
        let service = Service {
            name: "events",
            endpoint: settings.endpoints.events.clone(),
            headers: &[("content-type", "application/x-amz-json-1.1"), ("x-amz-target", TARGET)],
            refusal,
        };
        Self(Signed::new(settings, service))
    }
}

/// One event to send; its source is [`SOURCE`], its time that of the call.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// `detail-type`: 1 to 128 characters.
    pub detail_type: String,
    /// ARNs of what it is about; may be empty.
    pub resources: Vec<String>,
    /// A JSON object: EventBridge refuses anything else (`MalformedDetail`).
    pub detail: Value,
}

/// An entry as it is sent.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Sent<'a> {
    source: &'static str,
    detail_type: &'a str,
    resources: &'a [String],
    detail: String,
    event_bus_name: &'a str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Request<'a> {
    entries: &'a [Sent<'a>],
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    failed_entry_count: Option<u32>,
    #[serde(default)]
    entries: Vec<Outcome>,
}

/// An entry's result: an `EventId`, or these.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Outcome {
    error_code: Option<String>,
    error_message: Option<String>,
}

#[derive(Debug, Deserialize)]
struct ErrorBody {
    #[serde(rename = "__type")]
    code: Option<String>,
    #[serde(alias = "Message")]
    message: Option<String>,
}

/// An entry that no request can hold.
#[derive(Debug, thiserror::Error)]
#[error("an event of {bytes} bytes, where fewer than {REQUEST_BYTES_MAX} are taken")]
struct TooLarge {
    bytes: usize,
}

/// PutEvents: sends the events to a bus, given by name or ARN, in as few requests as hold them. Entries
/// that are too large or refused do not keep the others from being sent; the error is one of theirs. A
/// request that fails as a whole is the error, and ends it.
pub async fn put(events: &Events, bus: &str, entries: &[Entry]) -> Result<(), CloudError> {
    let whole = Call::new("put events to", bus);
    let (requests, mut failed) = requests(bus, entries);
    for request in &requests {
        let body = serde_json::to_string(&Request { entries: request });
        let body = body.map_err(|error| whole.unsent(error))?;
        let answer = events.0.send(&whole, &body).await?;
        let answer: Answer = serde_json::from_str(&answer)
            .map_err(|error| whole.unreadable(AnswerError::Body(Arc::new(error))))?;
        let refused = first_failed(&whole, request, answer).err();
        failed = failed.or(refused);
    }
    failed.map_or(Ok(()), Err)
}

/// The entries as requests hold them, and the error of the first one that fits into none.
fn requests<'a>(bus: &'a str, entries: &'a [Entry]) -> (Vec<Vec<Sent<'a>>>, Option<CloudError>) {
    let (mut requests, mut failed) = (Vec::<Vec<Sent<'_>>>::new(), None);
    let mut taken = 0;
    for entry in entries {
        let sent = Sent {
            source: SOURCE,
            detail_type: &entry.detail_type,
            resources: &entry.resources,
            detail: entry.detail.to_string(),
            event_bus_name: bus,
        };
        let bytes = sent.bytes();
        if bytes >= REQUEST_BYTES_MAX {
            failed = failed.or_else(|| Some(sent.call().unsent(TooLarge { bytes })));
            continue;
        }
        match requests.last_mut() {
            Some(request) if request.len() < ENTRIES_MAX && taken + bytes < REQUEST_BYTES_MAX => {
                taken += bytes;
                request.push(sent);
            }
            _ => {
                taken = bytes;
                requests.push(vec![sent]);
            }
        }
    }
    (requests, failed)
}

impl Sent<'_> {
    /// Its size as EventBridge counts it, and the envelope.
    fn bytes(&self) -> usize {
        let resources: usize = self.resources.iter().map(String::len).sum();
        let texts = self.source.len() + self.detail_type.len() + self.detail.len() + resources;
        texts + ENVELOPE_BYTES
    }

    /// The call about this entry alone: its detail-type, what it is about, the bus.
    fn call(&self) -> Call {
        let about = self.resources.first().map(|arn| format!(" about {arn}")).unwrap_or_default();
        let subject = format!("`{}`{about} to {}", self.detail_type, self.event_bus_name);
        Call::new("put event", subject)
    }
}

fn first_failed(whole: &Call, request: &[Sent<'_>], answer: Answer) -> Result<(), CloudError> {
    let missing = |field| whole.unreadable(AnswerError::Missing(field));
    if answer.failed_entry_count.ok_or_else(|| missing("FailedEntryCount"))? == 0 {
        return Ok(());
    }
    let mut outcomes = request.iter().zip(answer.entries);
    let failed = outcomes.find_map(|(sent, outcome)| {
        // An entry has no HTTP status of its own, and its code says only sometimes whose fault it is.
        let code = outcome.error_code?;
        let status = if code.starts_with("Internal") { 500 } else { 400 };
        let message = outcome.error_message.unwrap_or_default();
        Some(sent.call().refused(Refusal { code, message, status, retry_after: None }))
    });
    Err(failed.unwrap_or_else(|| missing("ErrorCode of an entry")))
}

/// Code and message of an error of AWS JSON 1.1: the code in a header, or else in the body, where a
/// namespace or a URL may stand around it.
fn refusal(response: &HttpResponse, text: &str) -> ErrorMetadata {
    let body: Option<ErrorBody> = serde_json::from_str(text).ok();
    let (code, message) = body.map_or((None, None), |body| (body.code, body.message));
    let header = response.headers().get("x-amzn-errortype").map(str::to_owned);
    let code = header.or(code).map(|code| bare(&code).to_owned());
    let mut metadata = ErrorMetadata::builder();
    if let Some(code) = code {
        metadata = metadata.code(code);
    }
    if let Some(message) = message {
        metadata = metadata.message(message);
    }
    metadata.build()
}

/// `com.amazonaws.events#InternalException:http://…` is `InternalException`.
fn bare(code: &str) -> &str {
    let code = code.split_once(':').map_or(code, |(code, _)| code);
    code.rsplit_once('#').map_or(code, |(_, code)| code)
}
