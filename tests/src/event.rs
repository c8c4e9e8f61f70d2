//! What an event of `events/` speaks of, read without the crates under test, so that they share no mistakes.

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The Auto Scaling group of instances whose events name none.
pub const ASG: &str = "workers";

/// The sample of this name, as text.
#[track_caller]
pub fn sample(name: &str) -> String {
    std::fs::read_to_string(samples().join(name))
        .unwrap_or_else(|error| panic!("events/{name}: {error}"))
}

/// The names of all samples that begin with this, in order.
pub fn named(begin: &str) -> Vec<String> {
    let entries = samples().read_dir().into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> =
        names.filter(|name| name.starts_with(begin) && name.ends_with(".json")).collect();
    names.sort();
    names
}

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../events")
}

/// One lifecycle action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// The Auto Scaling group.
    pub asg: String,
    /// The hook.
    pub hook: String,
    /// `autoscaling:EC2_INSTANCE_TERMINATING` or `…_LAUNCHING`.
    pub transition: String,
    /// The instance.
    pub instance: String,
    /// `NotificationMetadata`; empty where there is none.
    pub metadata: String,
    /// The lifecycle state in which the instance waits for an answer.
    pub state: &'static str,
}

/// One instance as EC2 shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Its id.
    pub id: String,
    /// The Auto Scaling group that its tag names, if it has one.
    pub asg: Option<String>,
    /// `running`, `stopping`, …
    pub state: String,
    /// The capacity reservation that it runs in.
    pub reservation: Option<String>,
    /// Whether EC2 has an event scheduled for it.
    pub is_scheduled: bool,
}

/// The lifecycle actions in a payload: a bare event, or a batch of messages in any of the three shapes.
pub fn actions(payload: &Value) -> Vec<Action> {
    bodies(payload).iter().filter_map(action).collect()
}

/// The instances in a payload, each in the state that it says first, or running; and one in each capacity reservation.
pub fn instances(payload: &Value) -> Vec<Instance> {
    let mut found: BTreeMap<String, Instance> = BTreeMap::new();
    for instance in bodies(payload).iter().flat_map(spoken_of) {
        let known = found.entry(instance.id.clone()).or_insert_with(|| instance.clone());
        if known.state == RUNNING {
            known.state = instance.state;
        }
        known.reservation = known.reservation.take().or(instance.reservation);
        known.is_scheduled |= instance.is_scheduled;
    }
    found.into_values().collect()
}

/// The body of one message in a batch; empty where there is none.
pub fn body_of(batch: &str, message: &str) -> String {
    let batch: Value = serde_json::from_str(batch).unwrap_or_default();
    let mut records = batch["Records"].as_array().into_iter().flatten();
    let record = records.find(|record| record["messageId"] == message);
    record.and_then(|record| record["body"].as_str()).unwrap_or_default().to_owned()
}

/// The events in a payload, taken out of their messages; without those that cannot be read.
fn bodies(payload: &Value) -> Vec<Value> {
    match payload["Records"].as_array() {
        Some(records) => records.iter().filter_map(|record| of_body(&record["body"])).collect(),
        None => vec![payload.clone()],
    }
}

fn of_body(body: &Value) -> Option<Value> {
    let body: Value = serde_json::from_str(body.as_str()?).ok()?;
    match body["Message"].as_str() {
        Some(wrapped) => serde_json::from_str(wrapped).ok(),
        None => Some(body),
    }
}

const RUNNING: &str = "running";

/// The instances that one event speaks of.
fn spoken_of(event: &Value) -> Vec<Instance> {
    let detail = event.get("detail").unwrap_or(event);
    let text = |key: &str| detail[key].as_str();
    let reservation = text("capacity-reservation-id");
    let entities = detail["affectedEntities"].as_array().into_iter().flatten();
    let entities = entities.filter_map(|entity| entity["entityValue"].as_str());
    let of_arn = |id: &str| id.rsplit('/').next().map(str::to_owned);
    let ids = [text("EC2InstanceId"), text("instance-id"), reservation.map(|_| RESERVED)];
    let ids = ids.into_iter().flatten().chain(entities).filter_map(of_arn);
    let instance = |id| Instance {
        id,
        asg: Some(text("AutoScalingGroupName").unwrap_or(ASG).to_owned()),
        state: text("state").unwrap_or(RUNNING).to_owned(),
        reservation: reservation.map(str::to_owned),
        is_scheduled: text("eventTypeCategory") == Some("scheduledChange"),
    };
    ids.filter(|id| id.starts_with("i-")).map(instance).collect()
}

/// The instance in a capacity reservation, whose events name none.
const RESERVED: &str = "i-0d4e5f60718293041";

fn action(event: &Value) -> Option<Action> {
    let detail = event.get("detail").unwrap_or(event);
    let text = |key: &str| detail[key].as_str().map(str::to_owned);
    Some(Action {
        asg: text("AutoScalingGroupName")?,
        hook: text("LifecycleHookName")?,
        transition: text("LifecycleTransition")?,
        instance: text("EC2InstanceId")?,
        metadata: text("NotificationMetadata").unwrap_or_default(),
        state: state(detail),
    })
}

/// As AWS documents it for each way.
fn state(detail: &Value) -> &'static str {
    let text = |key: &str| detail[key].as_str().unwrap_or_default();
    let is_launch = text("LifecycleTransition").ends_with("LAUNCHING");
    match (text("Action"), text("Origin"), text("Destination")) {
        ("ReplaceRootVolume", _, _) => "ReplacingRootVolume:Wait",
        (_, _, "WarmPool") => "Warmed:Pending:Wait",
        (_, "WarmPool", "EC2") => "Warmed:Terminating:Wait",
        _ if is_launch => "Pending:Wait",
        _ => "Terminating:Wait",
    }
}
