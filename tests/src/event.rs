//! What an event of `events/` speaks of, read without the crates under test, so that they share no mistakes.

use serde_json::Value;

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

/// The lifecycle actions in a payload: a bare event, or a batch of messages in any of the three shapes.
pub fn actions(payload: &Value) -> Vec<Action> {
    match payload["Records"].as_array() {
        Some(records) => records.iter().filter_map(|record| of_body(&record["body"])).collect(),
        None => action(payload).into_iter().collect(),
    }
}

fn of_body(body: &Value) -> Option<Action> {
    let body: Value = serde_json::from_str(body.as_str()?).ok()?;
    match body["Message"].as_str() {
        Some(wrapped) => action(&serde_json::from_str(wrapped).ok()?),
        None => action(&body),
    }
}

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
