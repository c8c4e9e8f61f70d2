//! EventBridge's one call here: PutEvents, in AWS JSON 1.1.

use super::{EventBridge, Reliability, seconds};
use crate::aws::protocol::Refusal;
use crate::aws::uuid;
use crate::world::{Millis, World};
use serde_json::{Value, json};

/// Most entries of one call.
const ENTRIES_MAX: usize = 10;

/// Most bytes of one call's entries: 256 KiB.
const BYTES_MAX: usize = 256 * 1024;

/// One entry of a PutEvents.
#[derive(Clone, Debug)]
pub struct Put {
    /// When it came.
    pub at: Millis,
    /// Which process sent it.
    pub process: u32,
    /// The bus; `default` unless it was named.
    pub bus: String,
    /// Its source.
    pub source: String,
    /// Its detail-type.
    pub detail_type: String,
    /// Its detail, as it was sent.
    pub detail: String,
    /// What it is about.
    pub resources: Vec<String>,
    /// Why it was not taken, if it was not.
    pub refused: Option<&'static str>,
}

pub(crate) fn serve(
    world: &mut World,
    process: u32,
    action: &str,
    body: &[u8],
) -> Result<String, Refusal> {
    if action != "PutEvents" {
        return Err(Refusal::new(400, "UnknownOperationException", "unknown operation"));
    }
    let ask: Value = serde_json::from_slice(body)
        .map_err(|error| Refusal::new(400, "SerializationException", error.to_string()))?;
    let entries = ask["Entries"].as_array().map(Vec::as_slice).unwrap_or_default();
    if entries.is_empty() || entries.len() > ENTRIES_MAX {
        let message = format!(
            "1 validation error detected: Value at 'entries' failed to satisfy constraint: Member must have length between 1 and {ENTRIES_MAX}"
        );
        return Err(Refusal::new(400, "ValidationException", message));
    }
    if entries.iter().map(size).sum::<usize>() > BYTES_MAX {
        let message = "Total size of the entries in the request is over the limit.";
        return Err(Refusal::new(400, "ValidationException", message));
    }
    let answers: Vec<Value> = entries.iter().map(|entry| put(world, process, entry)).collect();
    let failed = answers.iter().filter(|answer| answer.get("ErrorCode").is_some()).count();
    Ok(json!({ "FailedEntryCount": failed, "Entries": answers }).to_string())
}

/// What a call is about: the first entry's detail-type.
pub(crate) fn subject(body: &[u8]) -> String {
    let ask: Value = serde_json::from_slice(body).unwrap_or_default();
    ask["Entries"][0]["DetailType"].as_str().unwrap_or_default().to_owned()
}

fn size(entry: &Value) -> usize {
    let long = |field: &str| entry[field].as_str().map_or(0, str::len);
    let resources = entry["Resources"].as_array().into_iter().flatten();
    let resources: usize = resources.filter_map(|one| one.as_str().map(str::len)).sum();
    14 + long("Source") + long("DetailType") + long("Detail") + resources
}

/// Takes one entry and sends it on by the rules, or says what is wrong with it.
fn put(world: &mut World, process: u32, entry: &Value) -> Value {
    let text = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    let resources = entry["Resources"].as_array().into_iter().flatten();
    let resources: Vec<String> =
        resources.filter_map(|one| one.as_str().map(str::to_owned)).collect();
    let bus = text("EventBusName").rsplit('/').next().unwrap_or_default().to_owned();
    let detail: Option<Value> = serde_json::from_str(&text("Detail")).ok().filter(Value::is_object);
    let refused = match (text("Source"), text("DetailType"), &detail) {
        (source, _, _) if source.is_empty() => Some((
            "InvalidArgument",
            "Parameter Source is not valid. Reason: Source is a required argument.",
        )),
        (_, title, _) if title.is_empty() => Some((
            "InvalidArgument",
            "Parameter DetailType is not valid. Reason: DetailType is a required argument.",
        )),
        (source, _, _) if source.starts_with("aws.") => {
            Some(("NotAuthorizedForSourceException", "Not authorized for the source."))
        }
        (_, _, None) => Some(("MalformedDetail", "Detail is malformed.")),
        (_, _, Some(_)) => None,
    };
    let sent = Put {
        at: world.now,
        process,
        bus: if bus.is_empty() { "default".to_owned() } else { bus },
        source: text("Source"),
        detail_type: text("DetailType"),
        detail: text("Detail"),
        resources: resources.clone(),
        refused: refused.map(|(code, _)| code),
    };
    let id = uuid(&mut world.rng);
    let body = json!({
        "version": "0",
        "id": id,
        "detail-type": sent.detail_type,
        "source": sent.source,
        "account": world.aws.account,
        "time": seconds(world.now),
        "region": world.aws.region,
        "resources": resources,
        "detail": detail,
    });
    let detail_type = sent.detail_type.clone();
    world.aws.events.put.push(sent);
    if let Some((code, message)) = refused {
        return json!({ "ErrorCode": code, "ErrorMessage": message });
    }
    EventBridge::route(world, &detail_type, body.to_string(), Reliability::Durable);
    json!({ "EventId": id })
}
