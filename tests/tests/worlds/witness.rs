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
    /// The targets that were to be registered or deregistered: group (by ARN) and instance.
    pub(crate) targets: Vec<(String, String)>,
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
    let look = look(snapshot, &decision);
    NOTES.with_borrow_mut(|(_, looks)| looks.push(look));
    decision
}

fn look(snapshot: &Snapshot, decision: &Decision) -> Look {
    let tokens = snapshot.signals.iter().map(|seen| {
        let SignalKind::Hook(hook) = &seen.signal.kind;
        hook.token.expose().to_owned()
    });
    let answered = decision.answers.iter().filter_map(|answer| match &answer.next {
        Next::Answer { call, .. } | Next::Reject { answer: Some(call), .. } => Some(call),
        Next::Reject { answer: None, .. } | Next::ComeBack { .. } | Next::Finished(_) => None,
    });
    let (mut kept, mut targets) = (Vec::new(), Vec::new());
    for step in &decision.steps {
        let change = match step {
            Step::Heartbeat(call) => {
                kept.push(call);
                continue;
            }
            Step::Deregister(deregister) => &deregister.change,
            Step::Register(change) => change,
            Step::PatchNode(_) | Step::Evict(_) | Step::Delete { .. } | Step::Note(_) => continue,
        };
        let ids = change.targets.iter().map(|target| target.id.clone());
        targets.extend(ids.map(|id| (change.group.to_string(), id)));
    }
    let tried = answered.chain(kept).map(|call| call.token.expose().to_owned()).collect();
    Look {
        at: snapshot.now.millis(),
        instance: snapshot.instance.to_string(),
        tokens: tokens.collect(),
        tried,
        targets,
    }
}
