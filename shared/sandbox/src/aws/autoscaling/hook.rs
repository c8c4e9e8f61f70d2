//! Lifecycle actions: begun with a token, kept alive by heartbeats, ended by an answer or a timeout.
//!
//! A heartbeat restarts the heartbeat period, never beyond the global timeout. ABANDON ends the other
//! actions of the same transition at once; CONTINUE lets them go on.

use super::{Action, Autoscaling, Ended, HookSpec, Notification, Step, Verdict, Way};
use crate::aws::events::{EventBridge, Notice};
use crate::aws::protocol::iso;
use crate::aws::uuid;
use crate::world::World;
use serde_json::{Value, json};

impl Autoscaling {
    /// Ends the action of `token`; false if there is none that still waits.
    pub fn complete(world: &mut World, token: &str, verdict: Verdict) -> bool {
        let Some(index) = world.aws.autoscaling.waiting.get(token).copied() else { return false };
        Self::end_action(world, index, Ended::Answered(verdict));
        true
    }

    /// Restarts the heartbeat period of an action; false if there is none that still waits.
    pub fn heartbeat(world: &mut World, token: &str) -> bool {
        let now = world.now;
        let autoscaling = &mut world.aws.autoscaling;
        let Some(index) = autoscaling.waiting.get(token).copied() else { return false };
        let Some(action) = autoscaling.actions.get_mut(index) else { return false };
        let group = autoscaling.groups.get(&action.group);
        let hook =
            group.and_then(|group| group.spec.hooks.iter().find(|hook| hook.name == action.hook));
        let Some(hook) = hook else { return false };
        action.heartbeat_until = now + hook.heartbeat_seconds * 1_000;
        action.heartbeats += 1;
        let until = action.heartbeat_until.min(action.global_until);
        Self::plan(world, until - now, Step::Timeout { action: index });
        true
    }

    /// Begins an action for each hook of the way, and returns how many there are.
    pub(super) fn start_actions(world: &mut World, instance: &str, way: Way) -> usize {
        let Some(group) = world.aws.autoscaling.group_of(instance) else { return 0 };
        let (name, arn) = (group.spec.name.clone(), group.arn.clone());
        let held = |hook: &&HookSpec| hook.transition == way.transition();
        let hooks: Vec<HookSpec> = group.spec.hooks.iter().filter(held).cloned().collect();
        for hook in &hooks {
            let token = uuid(&mut world.rng);
            let index = world.aws.autoscaling.actions.len();
            let (heartbeat, global) =
                (hook.heartbeat_seconds * 1_000, hook.global_timeout_seconds() * 1_000);
            world.aws.autoscaling.actions.push(Action {
                token,
                group: name.clone(),
                hook: hook.name.clone(),
                instance: instance.to_owned(),
                way,
                ours: hook.ours,
                began_at: world.now,
                heartbeat_until: world.now + heartbeat,
                global_until: world.now + global,
                heartbeats: 0,
                ended: None,
            });
            world.aws.autoscaling.await_answer(index);
            Self::plan(world, heartbeat.min(global), Step::Timeout { action: index });
            Self::announce(world, (&arn, instance), hook, index);
        }
        hooks.len()
    }

    /// Forgets what still waits for an instance that goes another way.
    pub(super) fn drop_actions(world: &mut World, instance: &str) {
        let tokens: Vec<String> =
            world.aws.autoscaling.waiting(instance).map(|action| action.token.clone()).collect();
        for token in tokens {
            let autoscaling = &mut world.aws.autoscaling;
            let Some(index) = autoscaling.await_no_more(&token) else { continue };
            if let Some(action) = autoscaling.actions.get_mut(index) {
                action.ended = Some((world.now, Ended::Abandoned));
            }
        }
    }

    pub(super) fn time_out(world: &mut World, index: usize) {
        let autoscaling = &world.aws.autoscaling;
        let Some(action) = autoscaling.actions.get(index) else { return };
        let (heartbeat, global) = (action.heartbeat_until, action.global_until);
        // A heartbeat came meanwhile, or an answer: another timeout counts, or none.
        if action.ended.is_some() || heartbeat.min(global) > world.now {
            return;
        }
        let group = autoscaling.groups.get(&action.group);
        let hook =
            group.and_then(|group| group.spec.hooks.iter().find(|hook| hook.name == action.hook));
        let result = hook.map_or(Verdict::Abandon, |hook| hook.default_result);
        let ended = if global <= heartbeat {
            Ended::GlobalTimeout(result)
        } else {
            Ended::HeartbeatTimeout(result)
        };
        Self::end_action(world, index, ended);
    }

    fn end_action(world: &mut World, index: usize, ended: Ended) {
        let now = world.now;
        let autoscaling = &mut world.aws.autoscaling;
        let Some(action) = autoscaling.actions.get_mut(index) else { return };
        action.ended = Some((now, ended));
        let (token, instance) = (action.token.clone(), action.instance.clone());
        let line = format!("hook {} of {instance} ended: {ended:?}", action.hook);
        autoscaling.await_no_more(&token);
        world.tell(line);
        if ended.verdict() == Verdict::Abandon {
            Self::drop_actions(world, &instance);
        }
        if world.aws.autoscaling.waiting(&instance).next().is_none() {
            Self::answered(world, &instance, ended.verdict());
        }
    }

    /// Tells EventBridge of an action, and the hook's own target if it has one.
    fn announce(world: &mut World, (arn, instance): (&str, &str), hook: &HookSpec, index: usize) {
        let Some(action) = world.aws.autoscaling.actions.get(index) else { return };
        let (way, token, name) = (action.way, action.token.clone(), action.group.clone());
        let (origin, destination) = way.ends();
        let mut detail = json!({
            "LifecycleActionToken": token,
            "AutoScalingGroupName": name,
            "LifecycleHookName": hook.name,
            "EC2InstanceId": instance,
            "LifecycleTransition": hook.transition.name(),
            "Origin": origin,
            "Destination": destination,
        });
        if let Some(metadata) = &hook.metadata {
            detail["NotificationMetadata"] = metadata.as_str().into();
        }
        if matches!(way, Way::ReplaceRootVolume | Way::RootVolumeReplaced) {
            detail["Action"] = "ReplaceRootVolume".into();
        }
        let flat = flat(world, &detail);
        match &hook.notification {
            Notification::EventBridge => {}
            Notification::Queue(queue) => EventBridge::notify(world, queue, flat.to_string()),
            Notification::Topic(queue) => {
                let wrapped = sns(world, &flat);
                EventBridge::notify(world, queue, wrapped.to_string());
            }
        }
        let detail_type = match hook.transition {
            super::Transition::Launching => "EC2 Instance-launch Lifecycle Action",
            super::Transition::Terminating => "EC2 Instance-terminate Lifecycle Action",
        };
        let (source, resources) = ("aws.autoscaling", vec![arn.to_owned()]);
        EventBridge::emit(world, &Notice { source, detail_type, resources, detail });
    }
}

/// The body that Auto Scaling sends straight to a hook's own target: the detail, flat, with a few more fields.
fn flat(world: &mut World, detail: &Value) -> Value {
    let mut flat = detail.clone();
    flat["Service"] = "AWS Auto Scaling".into();
    flat["Time"] = iso(world.now).into();
    flat["RequestId"] = uuid(&mut world.rng).into();
    flat["AccountId"] = world.aws.account.as_str().into();
    flat
}

/// What SNS makes of a message for a queue.
fn sns(world: &mut World, message: &Value) -> Value {
    let (region, account) = (&world.aws.region, &world.aws.account);
    json!({
        "Type": "Notification",
        "MessageId": uuid(&mut world.rng),
        "TopicArn": format!("arn:aws:sns:{region}:{account}:lifecycle"),
        "Subject": "Auto Scaling:  Lifecycle action",
        "Message": message.to_string(),
        "Timestamp": iso(world.now),
        "SignatureVersion": "1",
    })
}
