//! The one pure call of a turn: a snapshot in, a decision out.
//!
//! Each signal of the snapshot gets exactly one `Next`, since the answers are made by mapping over the signals: no path
//! can forget a hook.

use crate::admit::{Admission, Admitted, admit, call, in_charge, is_proven, look_again, mode};
use crate::decision::{Answer, Course, Decision, End, Ending, Next};
use crate::departure::Case;
use crate::limits::{ANSWER_MARGIN, CRASH_COSTS_AT_MOST, HEARTBEAT_SUPPORTED_MIN, RECEIVES_MAX};
use crate::pace::look;
use crate::policy::{Mode, Policy};
use crate::report::{Report, Stage};
use crate::signal::{SignalKind, Transition};
use crate::snapshot::{HookState, Snapshot};
use crate::step::{HookResult, Step};
use crate::time::Timestamp;
use crate::{arrival, departure};
use std::time::Duration;

/// Decides about one instance.
pub fn decide(snapshot: &Snapshot, policy: &Policy) -> Decision {
    let admissions: Vec<Admission<'_>> =
        snapshot.signals.iter().map(|seen| admit(seen, snapshot, policy)).collect();
    let ours = in_charge(ours(&admissions), policy);
    let (departing, arriving): (Vec<_>, Vec<_>) =
        ours.into_iter().partition(|signal| signal.hook.transition == Transition::Terminating);
    let configured = policy;
    let policy = overridden(policy, &departing, &arriving);
    let departure = course(snapshot, &departing, &policy, departure::decide);
    let arrival = course(snapshot, &arriving, &policy, arrival::decide);
    let answers = snapshot
        .signals
        .iter()
        .zip(&admissions)
        .map(|(seen, admission)| {
            let next = match admission {
                Admission::Out(next) => next.clone(),
                Admission::In(admitted) if mode(admitted, configured) == Mode::Observe => {
                    Next::Finished(Ending::Observed)
                }
                Admission::In(admitted) => {
                    let course = match admitted.hook.transition {
                        Transition::Terminating => &departure,
                        Transition::Launching => &arrival,
                    };
                    next(admitted, course.as_ref(), snapshot)
                }
            };
            let next = if seen.receives >= RECEIVES_MAX { give_up(next, admission) } else { next };
            Answer { message: seen.message.clone(), next }
        })
        .collect();
    let admitted: Vec<&Admitted<'_>> = departing.iter().chain(&arriving).collect();
    let mut steps = heartbeats(&admitted, snapshot, &policy);
    let mut report = None;
    for course in departure.into_iter().chain(arrival) {
        steps.extend(course.steps);
        report = report.or(Some(course.report));
    }
    let mut report =
        report.unwrap_or_else(|| Report::new(snapshot.instance.clone(), Stage::NotOurs));
    if policy.mode == Mode::Observe {
        report.would = steps.drain(..).map(|step| step.to_string()).collect();
    }
    Decision { instance: snapshot.instance.clone(), steps, answers, report }
}

/// A message that was received too often is given up before the queue gives it up silently.
fn give_up(next: Next, admission: &Admission<'_>) -> Next {
    match (next, admission) {
        (Next::ComeBack { .. }, Admission::In(admitted)) => Next::Reject {
            answer: Some(admitted.call()),
            why: format!("received {RECEIVES_MAX} times without coming to an end"),
        },
        (next, _) => next,
    }
}

/// The decision about an instance whose decision panicked once: all its messages come back.
pub fn postpone(snapshot: &Snapshot) -> Decision {
    let answers = snapshot
        .signals
        .iter()
        .map(|seen| {
            let next = Next::ComeBack { at: look_again(seen, snapshot.now) };
            Answer { message: seen.message.clone(), next }
        })
        .collect();
    let report = Report::new(snapshot.instance.clone(), Stage::Looking);
    Decision { instance: snapshot.instance.clone(), steps: Vec::new(), answers, report }
}

/// The decision about an instance whose decision or reads panicked twice: every hook of ours is answered, and the
/// messages go to the dead-letter queue.
pub fn abandon(snapshot: &Snapshot, policy: &Policy, why: &str) -> Decision {
    let answers = snapshot
        .signals
        .iter()
        .map(|seen| {
            let next = match admit(seen, snapshot, policy) {
                Admission::Out(next) => next,
                Admission::In(admitted)
                    if policy.overridden(&admitted.overrides).mode == Mode::Act =>
                {
                    Next::Reject { answer: Some(admitted.call()), why: why.to_owned() }
                }
                Admission::In(_) => Next::Reject { answer: None, why: why.to_owned() },
            };
            Answer { message: seen.message.clone(), next }
        })
        .collect();
    let report = Report::new(snapshot.instance.clone(), Stage::Looking);
    Decision { instance: snapshot.instance.clone(), steps: Vec::new(), answers, report }
}

fn ours<'a>(admissions: &[Admission<'a>]) -> Vec<Admitted<'a>> {
    admissions
        .iter()
        .filter_map(|admission| match admission {
            Admission::In(admitted) => Some(admitted.clone()),
            Admission::Out(_) => None,
        })
        .collect()
}

fn overridden(policy: &Policy, departing: &[Admitted<'_>], arriving: &[Admitted<'_>]) -> Policy {
    let hooks = departing.iter().chain(arriving);
    hooks.fold(policy.clone(), |policy, admitted| policy.overridden(&admitted.overrides))
}

fn course(
    snapshot: &Snapshot,
    signals: &[Admitted<'_>],
    policy: &Policy,
    decide: fn(&Case<'_>) -> Course,
) -> Option<Course> {
    if signals.is_empty() {
        return None;
    }
    Some(decide(&Case::new(snapshot, signals, policy)))
}

/// One signal's part of the course: its own hook, its own deadline.
fn next(admitted: &Admitted<'_>, course: Option<&Course>, snapshot: &Snapshot) -> Next {
    let answer =
        |result: HookResult, why: String| Next::Answer { call: admitted.call(), result, why };
    let last = admitted.hard().map(|hard| hard - ANSWER_MARGIN);
    match course.map(|course| &course.end) {
        Some(End::Done(result, why)) => answer(*result, why.clone()),
        Some(End::Again(_)) if last.is_some_and(|last| snapshot.now >= last) => {
            answer(HookResult::Continue, "this hook's own deadline".into())
        }
        Some(End::Again(at)) => Next::ComeBack { at: last.map_or(*at, |last| last.min(*at)) },
        None => Next::ComeBack { at: look_again(admitted.seen, snapshot.now) },
    }
}

/// A heartbeat for each action that needs one: it restarts the period, and says whether the action still waits. Also for
/// signals that could not be admitted this time because AWS's reads failed, if AWS took a heartbeat for them before.
fn heartbeats(admitted: &[&Admitted<'_>], snapshot: &Snapshot, policy: &Policy) -> Vec<Step> {
    if policy.mode != Mode::Act {
        return Vec::new();
    }
    let known = |token: &str| admitted.iter().find(|known| known.hook.token.fingerprint() == token);
    let mut calls: Vec<_> = snapshot
        .signals
        .iter()
        .filter_map(|seen| {
            let SignalKind::Hook(hook) = &seen.signal.kind;
            let token = hook.token.fingerprint();
            let heartbeat =
                seen.hook.as_ref().ok().and_then(|facts| Some(facts.as_ref()?.heartbeat));
            let heartbeat = heartbeat.unwrap_or(HEARTBEAT_SUPPORTED_MIN);
            let ours = known(&token);
            let last = match snapshot.memory.hooks.get(&token) {
                Some(HookState::Active(at)) => *at,
                None if ours.is_some() => seen.sent_at,
                Some(HookState::Inactive) | None => return None,
            };
            let unproven = ours.is_some_and(|admitted| !is_proven(admitted, snapshot));
            let due = is_beat_due(snapshot.now, last, heartbeat, seen.sent_at);
            (due || unproven).then(|| call(hook))
        })
        .collect();
    calls.sort();
    calls.dedup();
    calls.into_iter().map(Step::Heartbeat).collect()
}

/// Whether a heartbeat is due: a third of the period is over, or what is left of it would not survive the next wait and
/// a crash right after it.
fn is_beat_due(now: Timestamp, last: Timestamp, heartbeat: Duration, since: Timestamp) -> bool {
    let wait = now.until(look(now, since, Some(heartbeat)));
    let age = now.since(last);
    age >= heartbeat / 3 || age + wait + CRASH_COSTS_AT_MOST >= heartbeat
}
