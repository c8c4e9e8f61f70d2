//! SQS: hide a message for a while, or move it to the dead-letter queue with a reason.
//!
//! A hidden message that is reported as failed comes back when its visibility timeout ends: that is
//! how a departure is given back and heard again at a chosen time.

use crate::error::{AnswerError, Call, CloudError, Refusal};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{
    BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry, MessageAttributeValue,
};
use std::collections::BTreeSet;

/// Messages in one request: what the API takes at most.
const MESSAGES_IN_A_REQUEST_MAX: usize = 10;

/// The longest visibility timeout: SQS refuses more than 12 hours, and counts from the receive.
pub const HIDE_SECONDS_MAX: u32 = 43_200;

/// The size of a message with its attributes that every queue takes.
const MESSAGE_BYTES_MAX: usize = 262_144;

/// The longest reason: enough for a chain of causes, too little to fill a screen.
const REASON_BYTES_MAX: usize = 1024;

/// The attribute that says why a message was given up.
const REASON: &str = "reason";

/// One message to hide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hide {
    /// Its id, for the answer.
    pub message_id: String,
    /// The receipt handle of this one receive.
    pub receipt_handle: String,
    /// From now, at most [`HIDE_SECONDS_MAX`]; more is cut.
    pub seconds: u32,
}

/// ChangeMessageVisibilityBatch, in tens: what became of each message, in the order given. A message
/// that is deleted or back in the queue is an error of class `Gone`.
pub async fn hide(
    client: &Client,
    queue_url: &str,
    messages: &[Hide],
) -> Vec<(String, Result<(), CloudError>)> {
    let mut outcomes = Vec::with_capacity(messages.len());
    for chunk in messages.chunks(MESSAGES_IN_A_REQUEST_MAX) {
        outcomes.extend(hide_chunk(client, queue_url, chunk).await);
    }
    outcomes
}

async fn hide_chunk(
    client: &Client,
    queue_url: &str,
    chunk: &[Hide],
) -> Vec<(String, Result<(), CloudError>)> {
    let whole = Call::new("change visibility of messages in", queue_url);
    let entries: Result<_, _> = chunk.iter().enumerate().map(entry).collect();
    let entries = match entries.map_err(|error| whole.unsent(error)) {
        Ok(entries) => entries,
        Err(failure) => return all_failed(chunk, &failure),
    };
    let request = client.change_message_visibility_batch().queue_url(queue_url);
    let answer = request.set_entries(Some(entries)).send().await;
    let answer = match answer.map_err(|error| whole.failed(error)) {
        Ok(answer) => answer,
        Err(failure) => return all_failed(chunk, &failure),
    };
    let done: BTreeSet<&str> = answer.successful().iter().map(|entry| entry.id()).collect();
    let outcome = |(index, hide): (usize, &Hide)| {
        let id = index.to_string();
        let call = Call::new("change visibility of message", &hide.message_id);
        let failed = answer.failed().iter().find(|entry| entry.id() == id);
        let outcome = match failed {
            Some(failed) => Err(call.refused(refusal(failed))),
            None if done.contains(id.as_str()) => Ok(()),
            None => Err(call.unreadable(AnswerError::Missing("result of this entry"))),
        };
        (hide.message_id.clone(), outcome)
    };
    chunk.iter().enumerate().map(outcome).collect()
}

/// SendMessage to the dead-letter queue, with the reason as a String attribute. The reason is cut to
/// fit; a body that alone is too large for the queue is refused by SQS.
pub async fn dead_letter(
    client: &Client,
    queue_url: &str,
    body: &str,
    reason: &str,
) -> Result<(), CloudError> {
    let call = Call::new("send message to", queue_url);
    let mut request = client.send_message().queue_url(queue_url).message_body(body);
    let reason = trimmed(reason, body.len());
    if !reason.is_empty() {
        let value = MessageAttributeValue::builder().data_type("String").string_value(reason);
        let value = value.build().map_err(|error| call.unsent(error))?;
        request = request.message_attributes(REASON, value);
    }
    request.send().await.map_err(|error| call.failed(error))?;
    Ok(())
}

/// Entries are numbered, since an entry's id must be unique and a message's need not be.
fn entry(
    (index, hide): (usize, &Hide),
) -> Result<ChangeMessageVisibilityBatchRequestEntry, aws_sdk_sqs::error::BuildError> {
    let seconds = i32::try_from(hide.seconds.min(HIDE_SECONDS_MAX)).unwrap_or(i32::MAX);
    ChangeMessageVisibilityBatchRequestEntry::builder()
        .id(index.to_string())
        .receipt_handle(&hide.receipt_handle)
        .visibility_timeout(seconds)
        .build()
}

fn all_failed(chunk: &[Hide], failure: &CloudError) -> Vec<(String, Result<(), CloudError>)> {
    chunk.iter().map(|hide| (hide.message_id.clone(), Err(failure.clone()))).collect()
}

/// A failed entry has no HTTP status of its own, but says whose fault it is.
fn refusal(failed: &BatchResultErrorEntry) -> Refusal {
    Refusal {
        code: failed.code().to_owned(),
        message: failed.message().unwrap_or_default().to_owned(),
        status: if failed.sender_fault() { 400 } else { 500 },
        retry_after: None,
    }
}

/// The reason as an attribute takes it: without control characters, cut at a character so that it and
/// the body (of so many bytes) fit into one message. Empty when there is no room.
fn trimmed(reason: &str, body_bytes: usize) -> String {
    let taken = body_bytes + REASON.len() + "String".len();
    let room = MESSAGE_BYTES_MAX.saturating_sub(taken).min(REASON_BYTES_MAX);
    let mut kept = String::new();
    for character in reason.trim().chars() {
        let character = if character.is_control() { ' ' } else { character };
        if kept.len() + character.len_utf8() > room {
            break;
        }
        kept.push(character);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_cut_to_what_fits() {
        let overhead = REASON.len() + "String".len();
        let long = "é".repeat(REASON_BYTES_MAX);
        let rows = [
            ("plain", "no hook", 10, "no hook".to_owned()),
            ("control characters", "a\nb\u{7}c", 10, "a b c".to_owned()),
            ("too long", &long, 10, "é".repeat(REASON_BYTES_MAX / 2)),
            ("room for three bytes", "éé", MESSAGE_BYTES_MAX - overhead - 3, "é".to_owned()),
            ("room for two bytes", "éé", MESSAGE_BYTES_MAX - overhead - 2, "é".to_owned()),
            ("room for one byte", "éé", MESSAGE_BYTES_MAX - overhead - 1, String::new()),
            ("no room", "no hook", MESSAGE_BYTES_MAX, String::new()),
        ];
        for (name, reason, body_bytes, expected) in rows {
            assert_eq!(trimmed(reason, body_bytes), expected, "{name}");
        }
    }
}
