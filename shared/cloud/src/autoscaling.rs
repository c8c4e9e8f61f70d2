//! Auto Scaling: who is in which group, the group's hooks, and the answers to them.
//!
//! An answer to a lifecycle action that is no longer active (answered before, or expired) is not an
//! error: AWS says so with a `ValidationError`, and it is what everybody who answers twice is told.

use crate::error::{AnswerError, Call, CloudError};
use aws_sdk_autoscaling::Client;
use aws_sdk_autoscaling::types::{AutoScalingGroup, AutoScalingInstanceDetails, LifecycleHook};
use decision::id::{AsgName, HookName, InstanceId, TargetGroupArn};
use decision::signal::Transition;
use decision::snapshot::aws::{Asg, Hook, LifecycleState, Membership};
use decision::step::{HookCall, HookResult};
use std::collections::BTreeMap;
use std::time::Duration;

/// Ids or names in one request: what the API takes at most (instances), and takes without being asked
/// for larger pages (groups). More is refused; half of it doubles the calls of a storm.
const NAMES_IN_A_REQUEST_MAX: usize = 50;

/// Pages of one list. What 50 names ask for fits into one; the bound ends a list that never ends.
const PAGES_MAX: usize = 5;

/// What became of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completed {
    /// The lifecycle action has its answer.
    Accepted,
    /// There is no such lifecycle action (any more): answered already, or expired.
    NotActive,
}

/// What became of a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// The heartbeat period begins anew, within the global timeout.
    Accepted,
    /// There is no such lifecycle action (any more).
    NotActive,
}

/// DescribeAutoScalingInstances: the group and lifecycle state of each instance. Those that are in no
/// group are not in the answer; AWS leaves them out.
pub async fn memberships(
    client: &Client,
    instances: &[InstanceId],
) -> Result<BTreeMap<InstanceId, Membership>, CloudError> {
    let mut found = BTreeMap::new();
    for chunk in instances.chunks(NAMES_IN_A_REQUEST_MAX) {
        let call = Call::about("describe Auto Scaling instances", chunk);
        let ids: Vec<String> = chunk.iter().map(InstanceId::to_string).collect();
        let mut next = None;
        for page in 1.. {
            let request = client.describe_auto_scaling_instances();
            let request = request.set_instance_ids(Some(ids.clone())).set_next_token(next);
            let answer = request.send().await.map_err(|error| call.failed(error))?;
            for details in answer.auto_scaling_instances() {
                let entry = membership(details).map_err(|error| call.unreadable(error))?;
                found.extend([entry]);
            }
            next = more(answer.next_token, page, PAGES_MAX).map_err(|e| call.unreadable(e))?;
            if next.is_none() {
                break;
            }
        }
    }
    Ok(found)
}

/// DescribeAutoScalingGroups, without their instances: tags and target groups of each group. Groups
/// that do not exist are not in the answer; AWS leaves them out.
pub async fn groups(
    client: &Client,
    names: &[AsgName],
) -> Result<BTreeMap<AsgName, Asg>, CloudError> {
    let mut found = BTreeMap::new();
    for chunk in names.chunks(NAMES_IN_A_REQUEST_MAX) {
        let call = Call::about("describe Auto Scaling groups", chunk);
        let names: Vec<String> = chunk.iter().map(AsgName::to_string).collect();
        let mut next = None;
        for page in 1.. {
            let request = client.describe_auto_scaling_groups().include_instances(false);
            let request =
                request.set_auto_scaling_group_names(Some(names.clone())).set_next_token(next);
            let answer = request.send().await.map_err(|error| call.failed(error))?;
            for described in answer.auto_scaling_groups() {
                let group = group(described).map_err(|error| call.unreadable(error))?;
                found.insert(group.name.clone(), group);
            }
            next = more(answer.next_token, page, PAGES_MAX).map_err(|e| call.unreadable(e))?;
            if next.is_none() {
                break;
            }
        }
    }
    Ok(found)
}

/// DescribeLifecycleHooks: all the hooks of one group (50 at most). A group that does not exist is an
/// error of class `Gone`.
pub async fn hooks(client: &Client, asg: &AsgName) -> Result<Vec<Hook>, CloudError> {
    let call = Call::new("describe lifecycle hooks of", asg);
    let request = client.describe_lifecycle_hooks().auto_scaling_group_name(asg.as_str());
    let answer = request.send().await.map_err(|error| call.failed(error))?;
    let hooks: Result<Vec<Hook>, AnswerError> = answer.lifecycle_hooks().iter().map(hook).collect();
    hooks.map_err(|error| call.unreadable(error))
}

/// CompleteLifecycleAction: answers a waiting hook.
pub async fn complete(
    client: &Client,
    action: &HookCall,
    result: HookResult,
) -> Result<Completed, CloudError> {
    let call = Call::new("complete lifecycle action of", subject(action));
    let request = client
        .complete_lifecycle_action()
        .auto_scaling_group_name(action.asg.as_str())
        .lifecycle_hook_name(action.hook.as_str())
        .lifecycle_action_token(action.token.expose())
        .lifecycle_action_result(result.wire());
    match request.send().await.map_err(|error| call.failed(error)) {
        Ok(_) => Ok(Completed::Accepted),
        Err(error) if is_not_active(&error) => Ok(Completed::NotActive),
        Err(error) => Err(without_token(error, action)),
    }
}

/// RecordLifecycleActionHeartbeat: begins the hook's heartbeat period anew.
pub async fn heartbeat(client: &Client, action: &HookCall) -> Result<Beat, CloudError> {
    let call = Call::new("record lifecycle action heartbeat of", subject(action));
    let request = client
        .record_lifecycle_action_heartbeat()
        .auto_scaling_group_name(action.asg.as_str())
        .lifecycle_hook_name(action.hook.as_str())
        .lifecycle_action_token(action.token.expose());
    match request.send().await.map_err(|error| call.failed(error)) {
        Ok(_) => Ok(Beat::Accepted),
        Err(error) if is_not_active(&error) => Ok(Beat::NotActive),
        Err(error) => Err(without_token(error, action)),
    }
}

/// The token of the next page, if there is one and we are to read it.
pub(crate) fn more(
    token: Option<String>,
    page: usize,
    pages_max: usize,
) -> Result<Option<String>, AnswerError> {
    match token {
        Some(token) if token.is_empty() => Ok(None),
        Some(_) if page >= pages_max => Err(AnswerError::Pages(pages_max)),
        token => Ok(token),
    }
}

fn membership(
    details: &AutoScalingInstanceDetails,
) -> Result<(InstanceId, Membership), AnswerError> {
    let id = details.instance_id().ok_or(AnswerError::Missing("InstanceId"))?;
    let asg = details.auto_scaling_group_name();
    let asg = asg.ok_or(AnswerError::Missing("AutoScalingGroupName"))?;
    let state = details.lifecycle_state().ok_or(AnswerError::Missing("LifecycleState"))?;
    let membership = Membership { asg: AsgName::parse(asg)?, state: LifecycleState::parse(state) };
    Ok((InstanceId::parse(id)?, membership))
}

fn group(described: &AutoScalingGroup) -> Result<Asg, AnswerError> {
    let name = described.auto_scaling_group_name();
    let name = name.ok_or(AnswerError::Missing("AutoScalingGroupName"))?;
    let tag = |tag: &aws_sdk_autoscaling::types::TagDescription| {
        Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned()))
    };
    let arns = described.target_group_arns().iter();
    Ok(Asg {
        name: AsgName::parse(name)?,
        tags: described.tags().iter().filter_map(tag).collect(),
        target_groups: arns.map(|arn| TargetGroupArn::parse(arn)).collect::<Result<_, _>>()?,
    })
}

fn hook(described: &LifecycleHook) -> Result<Hook, AnswerError> {
    let name = described.lifecycle_hook_name();
    let name = name.ok_or(AnswerError::Missing("LifecycleHookName"))?;
    let transition = described.lifecycle_transition();
    let transition = transition.ok_or(AnswerError::Missing("LifecycleTransition"))?;
    Ok(Hook {
        name: HookName::parse(name)?,
        transition: read_transition(transition)?,
        heartbeat: seconds(described.heartbeat_timeout(), "HeartbeatTimeout")?,
        global: seconds(described.global_timeout(), "GlobalTimeout")?,
        metadata: described.notification_metadata().map(str::to_owned),
    })
}

fn read_transition(text: &str) -> Result<Transition, AnswerError> {
    let known = [Transition::Launching, Transition::Terminating];
    known
        .into_iter()
        .find(|transition| transition.wire() == text)
        .ok_or_else(|| AnswerError::Unknown { what: "LifecycleTransition", value: text.to_owned() })
}

fn seconds(value: Option<i32>, field: &'static str) -> Result<Duration, AnswerError> {
    let value = value.ok_or(AnswerError::Missing(field))?;
    let seconds = u64::try_from(value)
        .map_err(|_| AnswerError::Unknown { what: field, value: value.to_string() })?;
    Ok(Duration::from_secs(seconds))
}

/// Group and hook, never the token.
fn subject(action: &HookCall) -> String {
    format!("{} hook {}", action.asg, action.hook)
}

/// "No active Lifecycle Action found with token …", in whichever letter case.
fn is_not_active(error: &CloudError) -> bool {
    const WORDS: &str = "no active lifecycle action found";
    let Some(refusal) = error.refusal() else { return false };
    let start = refusal.message.get(..WORDS.len());
    refusal.code == "ValidationError"
        && start.is_some_and(|start| start.eq_ignore_ascii_case(WORDS))
}

/// Auto Scaling quotes a token that it does not like; ours must not be read in a log.
fn without_token(mut error: CloudError, action: &HookCall) -> CloudError {
    if let CloudError::Refused { source, .. } = &mut error {
        source.message = source.message.replace(action.token.expose(), "(token)");
    }
    error
}
