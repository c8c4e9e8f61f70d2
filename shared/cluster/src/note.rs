//! Kubernetes Events: what Ebbtide did, shown by `kubectl describe` beside the node or the pod.

use crate::call::{Call, JSON};
use crate::error::{ClusterError, Operation};
use decision::id::Uid;
use decision::step::{Note, NoteSubject};
use decision::time::Timestamp;
use http::Method;
use serde::Serialize;

/// How many bytes the API allows in `note` (events.k8s.io/v1: 1 kB).
const NOTE_BYTES_MAX: usize = 1024;

/// How much of the subject's name goes into the Event's: with a dot and 16 digits it stays below the 253
/// characters of a DNS subdomain.
const NAME_BYTES_MAX: usize = 230;

/// Who reports; also the instance, since no process of ours lives longer than its turn.
const REPORTER: &str = "ebbtide.dev";

/// Where Events about objects without a namespace belong.
const NODE_NAMESPACE: &str = "default";

/// Writes an Event. Its name follows from its content and `now`, so that the same note tried twice is
/// one Event: "already exists" is success.
pub async fn note(client: &kube::Client, note: &Note, now: Timestamp) -> Result<(), ClusterError> {
    let event = Event::new(note, now);
    let namespace = event.metadata.namespace;
    let subject = format!("{} {}", event.regarding.kind, event.regarding.name);
    let path = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events");
    let call = Call::get(Operation::Note, subject, path).write(Method::POST, JSON, &event)?;
    match call.carry_out(client).await {
        Err(error) if error.code() == Some(409) => Ok(()),
        answer => answer,
    }
}

/// An Event of events.k8s.io/v1; every field but `namespace` in `regarding` is required there.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    api_version: &'static str,
    kind: &'static str,
    metadata: Metadata<'a>,
    event_time: String,
    reporting_controller: &'static str,
    reporting_instance: &'static str,
    action: &'static str,
    reason: &'static str,
    regarding: Regarding<'a>,
    note: &'a str,
    r#type: &'static str,
}

#[derive(Serialize)]
struct Metadata<'a> {
    name: String,
    namespace: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Regarding<'a> {
    api_version: &'static str,
    kind: &'static str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a str>,
    uid: &'a Uid,
}

impl<'a> Event<'a> {
    fn new(note: &'a Note, now: Timestamp) -> Self {
        let (kind, name, namespace, uid) = match &note.about {
            NoteSubject::Node { name, uid } => ("Node", name.as_str(), None, uid),
            NoteSubject::Pod { pod, uid } => {
                ("Pod", pod.name.as_str(), Some(pod.namespace.as_str()), uid)
            }
        };
        let digest = digest(&[uid.as_str(), note.reason, &note.text, &now.to_string()]);
        Self {
            api_version: "events.k8s.io/v1",
            kind: "Event",
            metadata: Metadata {
                name: format!(
                    "{}.{digest:016x}",
                    cut(name, NAME_BYTES_MAX).trim_end_matches(['.', '-'])
                ),
                namespace: namespace.unwrap_or(NODE_NAMESPACE),
            },
            event_time: micro_time(now),
            reporting_controller: REPORTER,
            reporting_instance: REPORTER,
            action: note.reason,
            reason: note.reason,
            regarding: Regarding { api_version: "v1", kind, name, namespace, uid },
            note: cut(&note.text, NOTE_BYTES_MAX),
            r#type: if note.warning { "Warning" } else { "Normal" },
        }
    }
}

/// The API's `MicroTime`: RFC 3339 with exactly six digits after the point; others are refused.
fn micro_time(now: Timestamp) -> String {
    let whole_seconds = Timestamp::from_seconds(now.millis().div_euclid(1000)).to_string();
    let micros = now.millis().rem_euclid(1000) * 1000;
    format!("{}.{micros:06}Z", whole_seconds.trim_end_matches('Z'))
}

/// As much of the text as fits into so many bytes without cutting a character.
fn cut(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or(text)
}

/// 64-bit FNV-1a over the parts, each ended by a byte that UTF-8 does not have.
fn digest(parts: &[&str]) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0xff]));
    bytes.fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
}
