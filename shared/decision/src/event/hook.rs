//! Lifecycle actions of an Auto Scaling group: the same fields in an event's `detail` and in a flat message.
//!
//! Strict: who is in doubt about a hook's transition, token or instance answers somebody else's hook.

use super::field::Object;
use super::{Envelope, EventError, Ignored, Parsed, ignored};
use crate::id::{AsgName, HookName, HookToken, InstanceId, shorten};
use crate::signal::{HookRoute, HookSignal, SignalKind, Transition};

const LAUNCH: &str = "EC2 Instance-launch Lifecycle Action";
const TERMINATE: &str = "EC2 Instance-terminate Lifecycle Action";
pub(super) const TEST_NOTIFICATION: &str = "autoscaling:TEST_NOTIFICATION";

/// An event of source `aws.autoscaling`.
pub(super) fn event(
    detail_type: &str,
    body: &Object<'_>,
    envelope: &Envelope,
) -> Result<Parsed, EventError> {
    let transition = match detail_type {
        LAUNCH => Transition::Launching,
        TERMINATE => Transition::Terminating,
        other => return Ok(ignored(Ignored::OtherDetailType(shorten(other)))),
    };
    lifecycle(&body.object("detail")?, Some(transition), envelope)
}

/// The lifecycle action itself; `announced` is what the detail-type said.
pub(super) fn lifecycle(
    action: &Object<'_>,
    announced: Option<Transition>,
    envelope: &Envelope,
) -> Result<Parsed, EventError> {
    let test = |key| action.loose(key) == Some(TEST_NOTIFICATION);
    if test("Event") || test("LifecycleTransition") {
        return Ok(ignored(Ignored::TestNotification));
    }
    let transition = transition(action, announced)?;
    let origin = action.optional("Origin")?;
    let destination = action.optional("Destination")?;
    let hook = HookSignal {
        transition,
        asg: action.id("AutoScalingGroupName", AsgName::parse)?,
        hook: action.id("LifecycleHookName", HookName::parse)?,
        token: action.id("LifecycleActionToken", HookToken::parse)?,
        metadata: action.optional("NotificationMetadata")?.map(str::to_owned),
        route: HookRoute::read(transition, origin, destination, action.optional("Action")?),
    };
    let instance = action.id("EC2InstanceId", InstanceId::parse)?;
    Ok(Parsed::Signals(vec![envelope.signal(instance, SignalKind::Hook(hook))]))
}

/// An unknown transition is an error, unlike an unknown way (`HookRoute::Normal`): whether to empty a
/// node or to wait for one is not to be guessed. So is one that contradicts the detail-type.
fn transition(
    action: &Object<'_>,
    announced: Option<Transition>,
) -> Result<Transition, EventError> {
    let both = [Transition::Launching, Transition::Terminating];
    let allowed = announced.as_ref().map_or(&both[..], std::slice::from_ref);
    let expected = allowed.iter().map(|one| one.wire()).collect::<Vec<_>>().join(" or ");
    let seen = action.required("LifecycleTransition", &expected)?;
    match allowed.iter().find(|one| one.wire() == seen) {
        Some(transition) => Ok(*transition),
        None => Err(action.mismatch("LifecycleTransition", expected)),
    }
}
