//! Is this signal ours, and is it still true? Asked before anything is written.
//!
//! The event says who and by when. Whether an action still waits is AWS's to say: the instance's lifecycle state, and
//! a heartbeat that our token was accepted for. That heartbeat is the generation check: warm pools and root-volume
//! replacement bring the same instance id back, never the same token. An interruption has no token: it is true of the life
//! that EC2 shows, which began before the signal was sent.

use crate::annotation::Contributor;
use crate::decision::{Ending, Next};
use crate::limits::{EVENT_AHEAD, HEARTBEAT_SUPPORTED_MIN, LOOKUP_PATIENCE, PROOF_LASTS};
use crate::pace::look;
use crate::policy::{Mode, Overrides, PausedHooks, Policy, Reaction, SettingError};
use crate::scope;
use crate::signal::{
    Cause, HookRoute, HookSignal, Interruption, Maintenance, SignalKind, Transition, Urgency,
};
use crate::snapshot::aws::{Hook, Instance, InstanceState, LifecycleState};
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
    /// What it asks for.
    pub(crate) asks: Asks<'a>,
    /// What the hook's metadata changes.
    pub(crate) overrides: Overrides,
    /// Settings in the metadata that could not be read.
    pub(crate) mistakes: Vec<SettingError>,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asks<'a> {
    /// An answer.
    Hook {
        /// The lifecycle action.
        signal: &'a HookSignal,
        /// The hook's facts; `None` when they could not be read for a long time.
        facts: Option<&'a Hook>,
    },
    /// That the node be left, or come back.
    Interruption {
        /// What AWS said.
        interruption: &'a Interruption,
        /// What the policy makes of it.
        reaction: Reaction,
    },
}

/// Which way a signal moves its instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Out of service.
    Departure,
    /// Into service.
    Arrival,
    /// Back into service: what an interruption led to is undone.
    Return,
    /// Nowhere yet: it is due at this instant.
    Later(Timestamp),
}

impl<'a> Admitted<'a> {
    /// The lifecycle action, if this is one.
    pub(crate) fn hook(&self) -> Option<&'a HookSignal> {
        match self.asks {
            Asks::Hook { signal, .. } => Some(signal),
            Asks::Interruption { .. } => None,
        }
    }

    /// The interruption, if this is one.
    pub(crate) fn interruption(&self) -> Option<&'a Interruption> {
        match self.asks {
            Asks::Hook { .. } => None,
            Asks::Interruption { interruption, .. } => Some(interruption),
        }
    }

    /// The instant at which AWS acts whatever we do: for a hook the event's time and the global timeout.
    pub(crate) fn hard(&self) -> Option<Timestamp> {
        match self.asks {
            Asks::Hook { facts, .. } => facts.map(|facts| self.seen.sent_at + facts.global),
            Asks::Interruption { interruption, .. } => interruption.hard(self.seen.sent_at),
        }
    }

    /// The heartbeat timeout of its hook; unknown counts as the shortest that is supported.
    pub(crate) fn heartbeat(&self) -> Option<Duration> {
        match self.asks {
            Asks::Hook { facts, .. } => {
                Some(facts.map_or(HEARTBEAT_SUPPORTED_MIN, |facts| facts.heartbeat))
            }
            Asks::Interruption { .. } => None,
        }
    }

    /// What names its part in a record: by whom, and which one.
    pub(crate) fn contributor(&self) -> Contributor {
        let (by, token) = match self.asks {
            Asks::Hook { signal, .. } => (signal.hook.to_string(), signal.token.fingerprint()),
            Asks::Interruption { interruption, .. } => {
                (interruption.cause.label().to_owned(), interruption.key())
            }
        };
        Contributor { by, token, hard: self.hard() }
    }

    /// Which way it moves its instance.
    pub(crate) fn way(&self, snapshot: &Snapshot, policy: &Policy) -> Way {
        match self.asks {
            Asks::Hook { signal, .. } => match signal.transition {
                Transition::Terminating => Way::Departure,
                Transition::Launching => Way::Arrival,
            },
            Asks::Interruption { interruption, .. } => match &interruption.cause {
                Cause::State(InstanceState::Pending | InstanceState::Running) => Way::Return,
                Cause::Maintenance(maintenance) => self.maintained(maintenance, snapshot, policy),
                Cause::Spot(_)
                | Cause::Rebalance
                | Cause::CapacityReservation
                | Cause::CapacityBlock
                | Cause::State(_) => Way::Departure,
            },
        }
    }

    fn maintained(&self, what: &Maintenance, snapshot: &Snapshot, policy: &Policy) -> Way {
        let policy = policy.overridden(&self.overrides);
        let begins_at = self.hard().map(|start| start - policy.maintenance_lead);
        match (what.urgency, begins_at) {
            _ if what.closed => Way::Return,
            (Urgency::AtStart, Some(at)) if at > snapshot.now => Way::Later(at),
            // Rescheduled or called off, and nobody told us so. EC2 may show it a moment after Health told of it.
            _ if snapshot.aws.is_scheduled == Ok(false)
                && snapshot.now >= self.seen.sent_at + LOOKUP_PATIENCE =>
            {
                Way::Return
            }
            (Urgency::AtStart | Urgency::AtOnce, _) => Way::Departure,
        }
    }

    /// Whether EC2 is to be asked, before anything is written, if its scheduled change still stands: its message outlives the
    /// one that calls it off. That one asks, once EC2's word counts, if any other stands.
    pub(crate) fn wants_schedule(&self, snapshot: &Snapshot, policy: &Policy) -> bool {
        let Some(Cause::Maintenance(what)) = self.interruption().map(|what| &what.cause) else {
            return false;
        };
        if what.closed {
            return snapshot.now >= self.seen.sent_at + LOOKUP_PATIENCE;
        }
        (what.urgency == Urgency::AtStart || self.hard().is_some())
            && !matches!(self.way(snapshot, policy), Way::Later(_))
    }

    /// From when a scheduled change is acted on, whatever EC2 could not be asked about it.
    pub(crate) fn trusted_from(&self, policy: &Policy) -> Timestamp {
        let cause = self.interruption().map(|what| &what.cause);
        if matches!(cause, Some(Cause::Maintenance(what)) if what.urgency == Urgency::AtOnce) {
            return self.seen.sent_at;
        }
        let lead = policy.overridden(&self.overrides).maintenance_lead;
        let due = self.hard().map_or(self.seen.sent_at, |start| start - lead);
        due.max(self.seen.sent_at) + LOOKUP_PATIENCE
    }

    /// Until when a recommendation holds; `None` for everything else.
    pub(crate) fn lapses_at(&self, policy: &Policy) -> Option<Timestamp> {
        let is_recommendation =
            self.interruption().is_some_and(|what| what.cause == Cause::Rebalance);
        is_recommendation
            .then(|| self.seen.sent_at + policy.overridden(&self.overrides).rebalance_hold)
    }

    /// How much of a departure it asks for.
    pub(crate) fn reaction(&self) -> Reaction {
        match self.asks {
            Asks::Hook { .. } => Reaction::Drain,
            Asks::Interruption { reaction, .. } => reaction,
        }
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

/// Whether the signal is known to be about the instance's present life. On the way to EC2 or from it there is one
/// action of a hook in an instance's life, but another tool's hook may hold it on when ours has expired: past our hook's
/// timeout, only a heartbeat that AWS accepted says that it still waits. On the ways that bring an instance back, only a
/// heartbeat accepted for our token lately tells this time from an earlier one. An interruption was admitted by what EC2
/// says of the instance.
pub(crate) fn is_proven(admitted: &Admitted<'_>, snapshot: &Snapshot) -> bool {
    let Asks::Hook { signal, facts } = admitted.asks else { return true };
    let lasts_from = |at: Timestamp| {
        signal.route == HookRoute::Normal
            && facts.is_none_or(|hook| snapshot.now < at + hook.heartbeat)
    };
    match snapshot.memory.hooks.get(&signal.token.fingerprint()) {
        Some(HookState::Active(at)) => lasts_from(*at) || snapshot.now.since(*at) <= PROOF_LASTS,
        Some(HookState::Inactive) => false,
        None => lasts_from(admitted.seen.sent_at),
    }
}

/// Judges one signal of the snapshot.
pub(crate) fn admit<'a>(seen: &'a Seen, snapshot: &'a Snapshot, policy: &Policy) -> Admission<'a> {
    match &seen.signal.kind {
        SignalKind::Hook(hook) => admit_hook(seen, hook, snapshot, policy),
        SignalKind::Interruption(interruption) => {
            admit_interruption(seen, interruption, snapshot, policy)
        }
    }
}

fn admit_hook<'a>(
    seen: &'a Seen,
    hook: &'a HookSignal,
    snapshot: &'a Snapshot,
    policy: &Policy,
) -> Admission<'a> {
    // Of a group that is not ours no hooks are read.
    if let Ok(Some(group)) = &snapshot.aws.group
        && let Err(foreign) = scope::group(group, policy)
    {
        return ignored(foreign);
    }
    let facts = match &seen.hook {
        Ok(Some(facts)) => Some(facts),
        // The list may be older than the hook.
        Ok(None) if snapshot.now < seen.sent_at + LOOKUP_PATIENCE => return again(seen, snapshot),
        Ok(None) => return over("the Auto Scaling group has no such hook any more"),
        Err(_) if snapshot.now < seen.sent_at + LOOKUP_PATIENCE => return again(seen, snapshot),
        Err(_) => None,
    };
    let metadata = facts.map_or(hook.metadata.as_deref(), |facts| facts.metadata.as_deref());
    let (overrides, mistakes) = match scope::hook(&hook.hook, metadata, policy) {
        Ok(Ok(overrides)) => (overrides, Vec::new()),
        Ok(Err(mistakes)) => (Overrides::readable(metadata), mistakes),
        Err(foreign) => return ignored(foreign),
    };
    if let Some(out) = out_of_scope(seen, snapshot, policy) {
        return out;
    }
    let asks = Asks::Hook { signal: hook, facts };
    let admitted = Admitted { seen, asks, overrides, mistakes };
    waits(hook, seen, snapshot)
        .or_else(|| paused(hook, &admitted, snapshot, policy))
        .map_or(Admission::In(admitted), Admission::Out)
}

/// `None` when the group is ours.
fn out_of_scope<'a>(seen: &Seen, snapshot: &Snapshot, policy: &Policy) -> Option<Admission<'a>> {
    match &snapshot.aws.group {
        Ok(Some(group)) => scope::group(group, policy).err().map(ignored),
        Ok(None) if snapshot.now < seen.sent_at + LOOKUP_PATIENCE => Some(again(seen, snapshot)),
        Ok(None) => Some(over("the Auto Scaling group no longer exists")),
        Err(_) => Some(again(seen, snapshot)),
    }
}

/// An interruption names no group: the instance's own tag does. What the hooks of the group override counts for it too.
fn admit_interruption<'a>(
    seen: &'a Seen,
    interruption: &'a Interruption,
    snapshot: &'a Snapshot,
    policy: &Policy,
) -> Admission<'a> {
    let instance = match &snapshot.aws.instance {
        Ok(Some(instance)) => instance,
        Ok(None) if snapshot.now < seen.sent_at + EVENT_AHEAD => return again(seen, snapshot),
        Ok(None) => return over("EC2 knows no such instance"),
        Err(_) => return again(seen, snapshot),
    };
    if instance.asg().is_none() {
        return ignored(scope::Foreign::NoGroup);
    }
    if let Some(out) = out_of_scope(seen, snapshot, policy) {
        return out;
    }
    if let Some(why) = is_untrue(interruption, seen, instance, snapshot) {
        return over(why);
    }
    let Ok(hooks) = &snapshot.aws.hooks else { return again(seen, snapshot) };
    let (overrides, mistakes) = scope::overrides(hooks, policy);
    let own = policy.overridden(&overrides);
    if own.mode == Mode::Paused {
        return Admission::Out(Next::Finished(Ending::Ignored("paused".into())));
    }
    let reaction = own.reaction(&interruption.cause);
    if reaction == Reaction::Ignore {
        let why = format!("{}: the policy ignores it", interruption.cause.label());
        return Admission::Out(Next::Finished(Ending::Ignored(why)));
    }
    let asks = Asks::Interruption { interruption, reaction };
    Admission::In(Admitted { seen, asks, overrides, mistakes })
}

/// Why an interruption says nothing about the instance as EC2 shows it now.
fn is_untrue(
    what: &Interruption,
    seen: &Seen,
    instance: &Instance,
    snapshot: &Snapshot,
) -> Option<&'static str> {
    // Both by AWS's clock.
    let sent_at = seen.signal.sent_at.unwrap_or(seen.sent_at);
    let started_since = instance.launched_at.is_some_and(|at| at > sent_at);
    let fresh = snapshot.now < seen.sent_at + EVENT_AHEAD;
    match what.cause {
        // A start is what this tells of.
        Cause::State(InstanceState::Pending | InstanceState::Running) => None,
        Cause::Maintenance(Maintenance { closed: true, .. }) => None,
        // A start ends all that came before it: it brings other hardware, too.
        _ if started_since => Some("it was sent before the instance last started"),
        // EC2 may show a stop a moment after it told of it.
        Cause::State(_) if instance.state.is_up() && !fresh => {
            Some("the instance runs, whatever state was announced")
        }
        Cause::State(_)
        | Cause::Spot(_)
        | Cause::Rebalance
        | Cause::CapacityReservation
        | Cause::CapacityBlock
        | Cause::Maintenance(_) => None,
    }
}

fn ignored<'a>(foreign: scope::Foreign) -> Admission<'a> {
    Admission::Out(Next::Finished(Ending::Foreign(foreign)))
}

fn over<'a>(why: &str) -> Admission<'a> {
    Admission::Out(Next::Finished(Ending::Over(why.to_owned())))
}

/// When to look again at a signal whose departure could not be looked at: in time for its hook's heartbeat, as far as
/// that is known.
pub(crate) fn look_again(seen: &Seen, now: Timestamp) -> Timestamp {
    let heartbeat = seen.signal.hook().map(|_| {
        let facts = seen.hook.as_ref().ok().and_then(Option::as_ref);
        facts.map_or(HEARTBEAT_SUPPORTED_MIN, |hook| hook.heartbeat)
    });
    look(now, seen.sent_at, heartbeat)
}

fn again<'a>(seen: &Seen, snapshot: &Snapshot) -> Admission<'a> {
    Admission::Out(Next::ComeBack { at: look_again(seen, snapshot.now) })
}

/// `None` when the action still waits for its answer.
fn waits(hook: &HookSignal, seen: &Seen, snapshot: &Snapshot) -> Option<Next> {
    let token = hook.token.fingerprint();
    if snapshot.memory.hooks.get(&token) == Some(&HookState::Inactive) {
        return Some(Next::Finished(Ending::Over(
            "the lifecycle action was answered already".into(),
        )));
    }
    let state = match &snapshot.aws.membership {
        Ok(Some(membership)) if membership.asg == hook.asg => &membership.state,
        Ok(_) => return Some(not_yet(seen, snapshot, "the instance is in the group no more")),
        Err(_) => return Some(Next::ComeBack { at: look_again(seen, snapshot.now) }),
    };
    let waiting = match (hook.transition, hook.route) {
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
    Some(not_yet(seen, snapshot, "its lifecycle state is no longer one that waits"))
}

/// AWS's reads may lag behind its events: look again for a while before the signal counts as over.
fn not_yet(seen: &Seen, snapshot: &Snapshot, why: &str) -> Next {
    if snapshot.now < seen.sent_at + EVENT_AHEAD {
        Next::ComeBack { at: look_again(seen, snapshot.now) }
    } else {
        Next::Finished(Ending::Over(why.to_owned()))
    }
}

/// Paused: the hook waits, or is answered so that AWS goes on without us.
fn paused(
    hook: &HookSignal,
    admitted: &Admitted<'_>,
    snapshot: &Snapshot,
    policy: &Policy,
) -> Option<Next> {
    if mode(admitted, policy) != Mode::Paused {
        return None;
    }
    Some(match policy.paused_hooks {
        PausedHooks::Leave => Next::ComeBack { at: snapshot.now + PAUSED_LOOK },
        PausedHooks::Continue => Next::Answer {
            call: call(hook),
            result: HookResult::Continue,
            why: "paused, PAUSED_HOOKS=continue".into(),
        },
    })
}
