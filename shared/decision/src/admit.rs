//! Is this signal ours, and is it still true? Asked before anything is written.
//!
//! The event says who and by when. Whether an action still waits is AWS's to say: the instance's lifecycle state, and
//! a heartbeat that our token was accepted for. That heartbeat is the generation check: warm pools and root-volume
//! replacement bring the same instance id back, never the same token.

use crate::decision::{Ending, Next};
use crate::limits::{EVENT_AHEAD, HEARTBEAT_SUPPORTED_MIN, LOOKUP_PATIENCE, PROOF_LASTS};
use crate::pace::look;
use crate::policy::{Mode, Overrides, PausedHooks, Policy, SettingError};
use crate::scope;
use crate::signal::{HookRoute, HookSignal, SignalKind, Transition};
use crate::snapshot::aws::{Hook, LifecycleState};
use crate::snapshot::{HookState, Seen, Snapshot};
use crate::step::{HookCall, HookResult};
use crate::time::Timestamp;
use std::time::Duration;

/// Between two looks while paused. Half: twice the receives for nothing. Twice: an end of the pause is noticed later.
const PAUSED_LOOK: Duration = Duration::from_secs(300);

/// What becomes of one signal before any departure or arrival is looked at.
#[derive(Clone, Debug)]
pub(crate) enum Admission<'a> {
    /// Nothing more to decide.
    Out(Next),
    /// Ours and, as far as is known, true.
    In(Admitted<'a>),
}

/// A signal that is ours.
#[derive(Clone, Debug)]
pub(crate) struct Admitted<'a> {
    /// The signal as it arrived.
    pub(crate) seen: &'a Seen,
    /// Its hook's part.
    pub(crate) hook: &'a HookSignal,
    /// The hook's facts; `None` when they could not be read for a long time.
    pub(crate) facts: Option<&'a Hook>,
    /// What the hook's metadata changes.
    pub(crate) overrides: Overrides,
    /// Settings in the metadata that could not be read.
    pub(crate) mistakes: Vec<SettingError>,
}

impl Admitted<'_> {
    /// What names the lifecycle action.
    pub(crate) fn call(&self) -> HookCall {
        call(self.hook)
    }

    /// The instant at which AWS ends the wait whatever we do: the event's time and the hook's global timeout.
    pub(crate) fn hard(&self) -> Option<Timestamp> {
        self.facts.map(|facts| self.seen.sent_at + facts.global)
    }
}

/// The signals that decide about their instance: those in charge (mode `act`), or, where none is, all that look on. Each
/// hook's own mode counts for it alone.
pub(crate) fn in_charge<'a>(admitted: Vec<Admitted<'a>>, policy: &Policy) -> Vec<Admitted<'a>> {
    let acts = |signal: &Admitted<'_>| mode(signal, policy) == Mode::Act;
    if admitted.iter().any(acts) {
        return admitted.into_iter().filter(acts).collect();
    }
    admitted
}

/// The mode of one signal: the configuration's, or what its hook says.
pub(crate) fn mode(signal: &Admitted<'_>, policy: &Policy) -> Mode {
    policy.overridden(&signal.overrides).mode
}

/// What names the lifecycle action of a signal.
pub(crate) fn call(hook: &HookSignal) -> HookCall {
    HookCall { asg: hook.asg.clone(), hook: hook.hook.clone(), token: hook.token.clone() }
}

/// Whether the lifecycle state that we see can only belong to this token. On the way to EC2 or from it there is one
/// action in an instance's life; on the ways that bring an instance back, only a heartbeat that AWS accepted for our
/// token lately tells this time from an earlier one.
pub(crate) fn is_proven(admitted: &Admitted<'_>, snapshot: &Snapshot) -> bool {
    match snapshot.memory.hooks.get(&admitted.hook.token.fingerprint()) {
        Some(HookState::Active(at)) => {
            admitted.hook.route == HookRoute::Normal || snapshot.now.since(*at) <= PROOF_LASTS
        }
        Some(HookState::Inactive) => false,
        None => admitted.hook.route == HookRoute::Normal,
    }
}

/// Judges one signal of the snapshot.
pub(crate) fn admit<'a>(seen: &'a Seen, snapshot: &'a Snapshot, policy: &Policy) -> Admission<'a> {
    let SignalKind::Hook(hook) = &seen.signal.kind;
    let facts = match &seen.hook {
        Ok(Some(facts)) => Some(facts),
        // The list may be older than the hook.
        Ok(None) if snapshot.now < seen.sent_at + LOOKUP_PATIENCE => return again(seen, snapshot),
        Ok(None) => return over("the Auto Scaling group has no such hook any more"),
        Err(_) if snapshot.now < seen.sent_at + LOOKUP_PATIENCE => return again(seen, snapshot),
        Err(_) => None,
    };
    let metadata = facts.map_or(hook.metadata.as_deref(), |facts| facts.metadata.as_deref());
    let (overrides, mistakes) = match scope::hook(hook, metadata, policy) {
        Ok(Ok(overrides)) => (overrides, Vec::new()),
        Ok(Err(mistakes)) => (Overrides::default(), mistakes),
        Err(foreign) => return ignored(foreign),
    };
    match &snapshot.aws.group {
        Ok(Some(group)) => {
            if let Err(foreign) = scope::group(group, policy) {
                return ignored(foreign);
            }
        }
        Ok(None) if snapshot.now < seen.sent_at + LOOKUP_PATIENCE => return again(seen, snapshot),
        Ok(None) => return over("the Auto Scaling group no longer exists"),
        Err(_) => return again(seen, snapshot),
    }
    let admitted = Admitted { seen, hook, facts, overrides, mistakes };
    waits(&admitted, snapshot)
        .or_else(|| paused(&admitted, snapshot, policy))
        .map_or(Admission::In(admitted), Admission::Out)
}

fn ignored<'a>(foreign: scope::Foreign) -> Admission<'a> {
    Admission::Out(Next::Finished(Ending::Ignored(foreign.to_string())))
}

fn over<'a>(why: &str) -> Admission<'a> {
    Admission::Out(Next::Finished(Ending::Over(why.to_owned())))
}

/// When to look again at a signal whose departure could not be looked at: in time for its hook's heartbeat, as far as
/// that is known.
pub(crate) fn look_again(seen: &Seen, now: Timestamp) -> Timestamp {
    let facts = seen.hook.as_ref().ok().and_then(Option::as_ref);
    look(now, seen.sent_at, Some(facts.map_or(HEARTBEAT_SUPPORTED_MIN, |hook| hook.heartbeat)))
}

fn again<'a>(seen: &Seen, snapshot: &Snapshot) -> Admission<'a> {
    Admission::Out(Next::ComeBack { at: look_again(seen, snapshot.now) })
}

/// `None` when the action still waits for its answer.
fn waits(admitted: &Admitted<'_>, snapshot: &Snapshot) -> Option<Next> {
    let token = admitted.hook.token.fingerprint();
    if snapshot.memory.hooks.get(&token) == Some(&HookState::Inactive) {
        return Some(Next::Finished(Ending::Over(
            "the lifecycle action was answered already".into(),
        )));
    }
    let state = match &snapshot.aws.membership {
        Ok(Some(membership)) if membership.asg == admitted.hook.asg => &membership.state,
        Ok(_) => return Some(not_yet(admitted, snapshot, "the instance is in the group no more")),
        Err(_) => return Some(Next::ComeBack { at: look_again(admitted.seen, snapshot.now) }),
    };
    let waiting = match (admitted.hook.transition, admitted.hook.route) {
        (_, HookRoute::RootVolume) => matches!(state, LifecycleState::ReplacingRootVolumeWait),
        (Transition::Terminating, HookRoute::WarmPoolIn) => {
            matches!(state, LifecycleState::WarmedPendingWait | LifecycleState::TerminatingWait)
        }
        (Transition::Terminating, _) => {
            matches!(state, LifecycleState::TerminatingWait | LifecycleState::WarmedTerminatingWait)
        }
        (Transition::Launching, _) => {
            matches!(state, LifecycleState::PendingWait | LifecycleState::WarmedPendingWait)
        }
    };
    if waiting {
        return None;
    }
    Some(not_yet(admitted, snapshot, "its lifecycle state is no longer one that waits"))
}

/// AWS's reads may lag behind its events: look again for a while before the signal counts as over.
fn not_yet(admitted: &Admitted<'_>, snapshot: &Snapshot, why: &str) -> Next {
    if snapshot.now < admitted.seen.sent_at + EVENT_AHEAD {
        Next::ComeBack { at: look_again(admitted.seen, snapshot.now) }
    } else {
        Next::Finished(Ending::Over(why.to_owned()))
    }
}

/// Paused: the hook waits, or is answered so that AWS goes on without us.
fn paused(admitted: &Admitted<'_>, snapshot: &Snapshot, policy: &Policy) -> Option<Next> {
    if policy.overridden(&admitted.overrides).mode != Mode::Paused {
        return None;
    }
    Some(match policy.paused_hooks {
        PausedHooks::Leave => Next::ComeBack { at: snapshot.now + PAUSED_LOOK },
        PausedHooks::Continue => Next::Answer {
            call: admitted.call(),
            result: HookResult::Continue,
            why: "paused, PAUSED_HOOKS=continue".into(),
        },
    })
}
