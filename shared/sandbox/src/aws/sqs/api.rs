//! SQS's answers, in AWS JSON 1.0.

use super::{Message, QueueSpec, Sqs, Unchanged};
use crate::aws::protocol::Refusal;
use crate::world::World;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Most entries of a batch call.
const BATCH_MAX: usize = 10;

pub(crate) fn serve(world: &mut World, action: &str, body: &[u8]) -> Result<String, Refusal> {
    let ask: Value = serde_json::from_slice(body)
        .map_err(|error| Refusal::new(400, "SerializationException", error.to_string()))?;
    let answer = match action {
        "GetQueueUrl" => get_queue_url(world, &ask)?,
        "GetQueueAttributes" => get_queue_attributes(world, &queue(world, &ask)?),
        "SendMessage" => send_message(world, &ask)?,
        "ReceiveMessage" => receive_message(world, &ask)?,
        "DeleteMessage" => {
            let queue = queue(world, &ask)?;
            Sqs::delete(world, &queue, text(&ask, "ReceiptHandle")?);
            json!({})
        }
        "ChangeMessageVisibility" => {
            let queue = queue(world, &ask)?;
            change_one(world, &queue, &ask)?;
            json!({})
        }
        "ChangeMessageVisibilityBatch" => change_batch(world, &ask)?,
        _ => {
            let message = format!("The action {action} is not valid for this endpoint.");
            return Err(Refusal::new(400, "InvalidAction", message));
        }
    };
    Ok(answer.to_string())
}

/// What a call is about: the queue's name.
pub(crate) fn subject(body: &[u8]) -> String {
    let ask: Value = serde_json::from_slice(body).unwrap_or_default();
    let name = ask["QueueUrl"].as_str().and_then(|url| url.rsplit('/').next());
    name.or(ask["QueueName"].as_str()).unwrap_or_default().to_owned()
}

fn no_queue() -> Refusal {
    Refusal::new(
        400,
        "AWS.SimpleQueueService.NonExistentQueue",
        "The specified queue does not exist.",
    )
}

fn text<'a>(ask: &'a Value, key: &str) -> Result<&'a str, Refusal> {
    ask[key].as_str().ok_or_else(|| {
        let message = format!("The request must contain the parameter {key}.");
        Refusal::new(400, "MissingParameter", message)
    })
}

fn queue(world: &World, ask: &Value) -> Result<String, Refusal> {
    let name = text(ask, "QueueUrl")?.rsplit('/').next().unwrap_or_default();
    if world.aws.sqs.queues.contains_key(name) { Ok(name.to_owned()) } else { Err(no_queue()) }
}

fn get_queue_url(world: &World, ask: &Value) -> Result<Value, Refusal> {
    let name = text(ask, "QueueName")?;
    if !world.aws.sqs.queues.contains_key(name) {
        return Err(no_queue());
    }
    Ok(json!({ "QueueUrl": Sqs::url(world, name) }))
}

fn get_queue_attributes(world: &World, name: &str) -> Value {
    let Some(queue) = world.aws.sqs.queues.get(name) else { return json!({}) };
    let (region, account) = (&world.aws.region, &world.aws.account);
    let visible = queue.visible(world.now);
    let mut attributes = json!({
        "QueueArn": format!("arn:aws:sqs:{region}:{account}:{name}"),
        "ApproximateNumberOfMessages": visible.to_string(),
        "ApproximateNumberOfMessagesNotVisible": (queue.messages.len() - visible).to_string(),
        "VisibilityTimeout": queue.spec.visibility_seconds.to_string(),
        "MessageRetentionPeriod": queue.spec.retention_seconds.to_string(),
    });
    let QueueSpec { dead_letter, max_receives, .. } = &queue.spec;
    if let Some(dead_letter) = dead_letter {
        let target = format!("arn:aws:sqs:{region}:{account}:{dead_letter}");
        let policy = json!({ "deadLetterTargetArn": target, "maxReceiveCount": max_receives });
        attributes["RedrivePolicy"] = policy.to_string().into();
    }
    json!({ "Attributes": attributes })
}

fn send_message(world: &mut World, ask: &Value) -> Result<Value, Refusal> {
    let queue = queue(world, ask)?;
    let body = text(ask, "MessageBody")?;
    let mut attributes = BTreeMap::new();
    for (name, value) in ask["MessageAttributes"].as_object().into_iter().flatten() {
        let part = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        attributes.insert(name.clone(), (part("DataType"), part("StringValue")));
    }
    let id = Sqs::send_with(world, &queue, body, attributes).ok_or_else(no_queue)?;
    // No MD5: the SDK checks none that is absent, and nothing here can corrupt a body.
    Ok(json!({ "MessageId": id }))
}

fn receive_message(world: &mut World, ask: &Value) -> Result<Value, Refusal> {
    let queue = queue(world, ask)?;
    let max = ask["MaxNumberOfMessages"].as_u64().unwrap_or(1);
    let max = usize::try_from(max).unwrap_or(BATCH_MAX).clamp(1, BATCH_MAX);
    let messages = Sqs::receive(world, &queue, max);
    if let Some(seconds) = ask["VisibilityTimeout"].as_i64() {
        for message in &messages {
            Sqs::change_visibility(world, &queue, &message.receipt, seconds)
                .map_err(|why| unchanged(why, &message.receipt, seconds))?;
        }
    }
    if messages.is_empty() {
        return Ok(json!({}));
    }
    Ok(json!({ "Messages": messages.iter().map(show).collect::<Vec<_>>() }))
}

fn show(message: &Message) -> Value {
    let attributes: BTreeMap<&String, Value> = message
        .attributes
        .iter()
        .map(|(name, (kind, value))| (name, json!({ "DataType": kind, "StringValue": value })))
        .collect();
    json!({
        "MessageId": message.id,
        "ReceiptHandle": message.receipt,
        "Body": message.body,
        "Attributes": {
            "ApproximateReceiveCount": message.receive_count.to_string(),
            "SentTimestamp": message.sent_at.to_string(),
            "ApproximateFirstReceiveTimestamp": message.first_received_at.to_string(),
            "SenderId": "AIDAIENQZJOLO23YVJ4VO",
        },
        "MessageAttributes": attributes,
    })
}

fn change_one(world: &mut World, queue: &str, entry: &Value) -> Result<(), Refusal> {
    let receipt = text(entry, "ReceiptHandle")?;
    let seconds = entry["VisibilityTimeout"].as_i64().unwrap_or_default();
    Sqs::change_visibility(world, queue, receipt, seconds)
        .map_err(|why| unchanged(why, receipt, seconds))
}

fn change_batch(world: &mut World, ask: &Value) -> Result<Value, Refusal> {
    let queue = queue(world, ask)?;
    let entries = ask["Entries"].as_array().map(Vec::as_slice).unwrap_or_default();
    if entries.is_empty() {
        let message =
            "There should be at least one ChangeMessageVisibilityBatchRequestEntry in the request.";
        return Err(Refusal::new(400, "AWS.SimpleQueueService.EmptyBatchRequest", message));
    }
    if entries.len() > BATCH_MAX {
        let message = format!(
            "Maximum number of entries per request are 10. You have sent {}.",
            entries.len()
        );
        let code = "AWS.SimpleQueueService.TooManyEntriesInBatchRequest";
        return Err(Refusal::new(400, code, message));
    }
    let mut ids: Vec<&str> = entries.iter().filter_map(|entry| entry["Id"].as_str()).collect();
    ids.sort_unstable();
    if let Some(twice) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
        let code = "AWS.SimpleQueueService.BatchEntryIdsNotDistinct";
        return Err(Refusal::new(400, code, format!("Id {} repeated.", twice[0])));
    }
    let (mut successful, mut failed) = (Vec::new(), Vec::new());
    for entry in entries {
        let id = text(entry, "Id")?;
        match change_one(world, &queue, entry) {
            Ok(()) => successful.push(json!({ "Id": id })),
            Err(Refusal { code, message, .. }) => failed
                .push(json!({ "Id": id, "SenderFault": true, "Code": code, "Message": message })),
        }
    }
    Ok(json!({ "Successful": successful, "Failed": failed }))
}

fn unchanged(why: Unchanged, receipt: &str, seconds: i64) -> Refusal {
    let handle = |reason: &str| {
        format!("Value {receipt} for parameter ReceiptHandle is invalid. Reason: {reason}")
    };
    let timeout = |reason: &str| {
        format!("Value {seconds} for parameter VisibilityTimeout is invalid. Reason: {reason}")
    };
    let stale = "Message does not exist or is not available for visibility timeout change.";
    let (code, message) = match why {
        Unchanged::NoQueue => return no_queue(),
        Unchanged::BadHandle => {
            let message =
                format!("The input receipt handle \"{receipt}\" is not a valid receipt handle.");
            ("ReceiptHandleIsInvalid", message)
        }
        Unchanged::Stale => ("InvalidParameterValue", handle(stale)),
        Unchanged::NotInFlight => ("AWS.SimpleQueueService.MessageNotInflight", handle(stale)),
        Unchanged::OutOfRange => {
            ("InvalidParameterValue", timeout("Must be between 0 and 43200, if provided."))
        }
        Unchanged::BeyondLimit => {
            let reason =
                "Total VisibilityTimeout for the message is beyond the limit [43200 seconds]";
            ("InvalidParameterValue", timeout(reason))
        }
    };
    Refusal::new(400, code, message)
}
