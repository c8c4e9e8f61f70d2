//! What the function decided, written down as it did: AWS's log of calls names neither the action of a heartbeat that
//! was lost on its way, nor the targets of a registration.
//!
//! A world lives on one thread, so the notes are the thread's.

use decision::decision::{Decision, Next};
use decision::policy::Policy;
use decision::signal::SignalKind;
use decision::snapshot::Snapshot;
use decision::step::Step;
use runtime::app::Decide;
use sandbox::world::Millis;
use std::cell::RefCell;

/// One decision about one instance.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    /// When its turn began.
    pub(crate) at: Millis,
    /// The instance.
    pub(crate) instance: String,
    /// The tokens of the signals that it was about.
    pub(crate) tokens: Vec<String>,
    /// The tokens that were to be answered or given a heartbeat.
    pub(crate) tried: Vec<String>,
    /// The targets that were to be registered or deregistered.
    pub(crate) targets: Vec<Moved>,
    /// The kinds of the interruptions that it was about.
    pub(crate) causes: Vec<&'static str>,
    /// Whether the same snapshot gave another decision.
    pub(crate) unsteady: bool,
    /// The decision in short, for reading.
    pub(crate) said: String,
}

/// A target that was to be registered or deregistered.
#[derive(Clone, Debug)]
pub(crate) struct Moved {
    /// The group's ARN.
    pub(crate) group: String,
    /// The instance.
    pub(crate) instance: String,
    /// Whether it was to be registered.
    pub(crate) registered: bool,
}

thread_local! {
    static NOTES: RefCell<(Decide, Vec<Look>)> =
        const { RefCell::new((decision::decide::decide, Vec::new())) };
}

/// The decision `inner`, with each of its results written down from now on.
pub(crate) fn watching(inner: Decide) -> Decide {
    NOTES.replace((inner, Vec::new()));
    decide
}

/// What was written down since [`watching`].
pub(crate) fn told() -> Vec<Look> {
    NOTES.with_borrow_mut(|(_, looks)| std::mem::take(looks))
}

fn decide(snapshot: &Snapshot, policy: &Policy) -> Decision {
    let inner = NOTES.with_borrow(|(inner, _)| *inner);
    let decision = inner(snapshot, policy);
    let unsteady = inner(snapshot, policy) != decision;
    let look = Look { unsteady, ..look(snapshot, &decision) };
    NOTES.with_borrow_mut(|(_, looks)| looks.push(look));
    decision
}

fn look(snapshot: &Snapshot, decision: &Decision) -> Look {
    let hooks = snapshot.signals.iter().filter_map(|seen| seen.signal.hook());
    let tokens = hooks.map(|hook| hook.token.expose().to_owned());
    let causes = snapshot.signals.iter().filter_map(|seen| match &seen.signal.kind {
        SignalKind::Hook(_) => None,
        SignalKind::Interruption(interruption) => Some(interruption.cause.label()),
    });
    let answered = decision.answers.iter().filter_map(|answer| match &answer.next {
        Next::Answer { call, .. } | Next::Reject { answer: Some(call), .. } => Some(call),
        Next::Reject { answer: None, .. } | Next::ComeBack { .. } | Next::Finished(_) => None,
    });
    let (mut kept, mut targets) = (Vec::new(), Vec::new());
    for step in &decision.steps {
        let (change, registered) = match step {
            Step::Heartbeat(call) => {
                kept.push(call);
                continue;
            }
            Step::Deregister(deregister) => (&deregister.change, false),
            Step::Register(change) => (change, true),
            Step::PatchNode(_) | Step::Evict { .. } | Step::Delete { .. } | Step::Note(_) => {
                continue;
            }
        };
        targets.extend(change.targets.iter().map(|target| {
            let (group, instance) = (change.group.to_string(), target.id.clone());
            Moved { group, instance, registered }
        }));
    }
    let tried = answered.chain(kept).map(|call| call.token.expose().to_owned()).collect();
    Look {
        at: snapshot.now.millis(),
        instance: snapshot.instance.to_string(),
        tokens: tokens.collect(),
        tried,
        targets,
        causes: causes.collect(),
        unsteady: false,
        said: said(snapshot, decision),
    }
}

fn said(snapshot: &Snapshot, decision: &Decision) -> String {
    let steps: Vec<String> = decision.steps.iter().map(Step::to_string).collect();
    let next = decision.answers.iter().zip(&snapshot.signals).map(|(answer, seen)| {
        let of = match &seen.signal.kind {
            SignalKind::Hook(hook) => hook.hook.to_string(),
            SignalKind::Interruption(interruption) => interruption.cause.to_string(),
        };
        match &answer.next {
            Next::Answer { result, why, .. } => format!("{of}: {} ({why})", result.wire()),
            Next::ComeBack { at } => {
                format!("{of}: again in {} ms", at.millis() - snapshot.now.millis())
            }
            Next::Finished(ending) => format!("{of}: {ending}"),
            Next::Reject { why, .. } => format!("{of}: rejected ({why})"),
        }
    });
    let next: Vec<String> = next.collect();
    format!("{} [{}] {}", decision.instance, steps.join(", "), next.join("; "))
}
