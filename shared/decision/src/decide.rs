//! The one pure call of a turn: a snapshot in, a decision out.
//!
//! Each signal of the snapshot gets exactly one `Next`, since the answers are made by mapping over the signals: no path
//! can forget a hook.

use crate::admit::{Admission, Admitted, Way, admit, call, in_charge, is_proven, look_again, mode};
use crate::decision::{Answer, Course, Decision, End, Ending, Next};
use crate::departure::Case;
use crate::limits::{
    ANSWER_MARGIN, CRASH_COSTS_AT_MOST, HEARTBEAT_SUPPORTED_MIN, HIDE_MAX, RECEIVES_MAX,
};
use crate::pace::look;
use crate::policy::{Mode, Policy};
use crate::report::{Report, Stage};
use crate::snapshot::{HookState, Seen, Snapshot};
use crate::step::{HookResult, Step};
use crate::time::Timestamp;
use crate::{announce, arrival, departure};
use std::time::Duration;

/// Decides about one instance.
pub fn decide(snapshot: &Snapshot, policy: &Policy) -> Decision {
    let admissions: Vec<Admission<'_>> =
        snapshot.signals.iter().map(|seen| admit(seen, snapshot, policy)).collect();
    let ours = in_charge(ours(&admissions), policy);
    let ways = Ways::sort(ours, snapshot, policy);
    let (configured, policy) = (policy, ways.overridden(policy));
    let departure = course(snapshot, &ways.departing, &policy, departure::decide);
    let arrival = course(snapshot, &ways.arriving, &policy, arrival::decide);
    let back = course(snapshot, &ways.returning, &policy, arrival::decide);
    let announced = course(snapshot, &ways.later, &policy, announce::decide);
    let of_way = |admitted: &Admitted<'_>| match admitted.way(snapshot, configured) {
        Way::Departure => {
            let next = next(admitted, departure.as_ref(), snapshot);
            ways.lasting(admitted, next, (snapshot.now, &policy))
        }
        Way::Arrival => next(admitted, arrival.as_ref(), snapshot),
        Way::Return => next(admitted, back.as_ref(), snapshot),
        Way::Later(at) => later(at, snapshot.now),
    };
    let mut withheld = Vec::new();
    let answers = snapshot
        .signals
        .iter()
        .zip(&admissions)
        .map(|(seen, admission)| {
            let next = match admission {
                Admission::Out(next) => next.clone(),
                Admission::In(admitted) if mode(admitted, configured) == Mode::Observe => {
                    withheld.extend(told(&of_way(admitted)));
                    Next::Finished(Ending::Observed)
                }
                Admission::In(admitted) => of_way(admitted),
            };
            let next = if seen.receives >= RECEIVES_MAX { give_up(next, admission) } else { next };
            Answer { message: seen.message.clone(), next }
        })
        .collect();
    let admitted: Vec<&Admitted<'_>> = ways.departing.iter().chain(&ways.arriving).collect();
    let mut steps = heartbeats(&admitted, snapshot, &policy);
    let mut report = None;
    for course in departure.into_iter().chain(arrival).chain(back).chain(announced) {
        steps.extend(course.steps);
        report = report.or(Some(course.report));
    }
    let mut report =
        report.unwrap_or_else(|| Report::new(snapshot.instance.clone(), Stage::NotOurs));
    let held = admitted.iter().filter(|signal| signal.hook().is_some());
    report.answer_by = held.filter_map(|signal| signal.hard()).min();
    if policy.mode == Mode::Observe {
        report.would = steps.drain(..).map(|step| step.to_string()).collect();
    }
    report.would.extend(withheld);
    Decision { instance: snapshot.instance.clone(), steps, answers, report }
}

/// An answer that is only observed, as the report tells it: where it comes at once, nothing would be drained before.
fn told(next: &Next) -> Option<String> {
    let Next::Answer { call, result, why } = next else { return None };
    Some(format!("answer hook {} with {}: {why}", call.hook, result.wire()))
}

/// The signals in charge, by the way in which they move the instance.
#[derive(Debug, Default)]
struct Ways<'a> {
    departing: Vec<Admitted<'a>>,
    arriving: Vec<Admitted<'a>>,
    returning: Vec<Admitted<'a>>,
    later: Vec<Admitted<'a>>,
}

impl<'a> Ways<'a> {
    /// Two ways at once would write the same node twice: who leaves or enters comes first, what is to be undone or told
    /// waits for its end.
    fn sort(ours: Vec<Admitted<'a>>, snapshot: &Snapshot, policy: &Policy) -> Self {
        let mut ways = Self::default();
        for admitted in ours {
            match admitted.way(snapshot, policy) {
                Way::Departure => ways.departing.push(admitted),
                Way::Arrival => ways.arriving.push(admitted),
                Way::Return => ways.returning.push(admitted),
                Way::Later(_) => ways.later.push(admitted),
            }
        }
        if !ways.departing.is_empty() || !ways.arriving.is_empty() {
            ways.returning.clear();
        }
        if !(ways.departing.is_empty() && ways.arriving.is_empty() && ways.returning.is_empty()) {
            ways.later.clear();
        }
        ways
    }

    /// What becomes of a signal of the departure. A recommendation beside something stronger leaves the course to that, and
    /// lasts for its own time: its part of the record goes with it.
    fn lasting(&self, admitted: &Admitted<'_>, next: Next, at: (Timestamp, &Policy)) -> Next {
        let (now, policy) = at;
        let is_stronger = |other: &Admitted<'_>| other.lapses_at(policy).is_none();
        let Some(lapses_at) = admitted.lapses_at(policy) else { return next };
        if !self.departing.iter().any(is_stronger) {
            return next;
        }
        match next {
            Next::ComeBack { at } => Next::ComeBack { at: lapses_at.max(at) },
            Next::Finished(Ending::Done(_)) if now < lapses_at => Next::ComeBack { at: lapses_at },
            next => next,
        }
    }

    fn overridden(&self, policy: &Policy) -> Policy {
        let all = [&self.departing, &self.arriving, &self.returning, &self.later];
        let signals = all.into_iter().flatten();
        signals.fold(policy.clone(), |policy, admitted| policy.overridden(&admitted.overrides))
    }
}

/// What is due later waits in its queue, as long as a queue can keep it.
fn later(at: Timestamp, now: Timestamp) -> Next {
    if now.until(at) > HIDE_MAX { Next::Finished(Ending::Later(at)) } else { Next::ComeBack { at } }
}

/// A message that was received too often is given up before the queue gives it up silently.
fn give_up(next: Next, admission: &Admission<'_>) -> Next {
    match (next, admission) {
        (Next::ComeBack { .. }, Admission::In(admitted)) => Next::Reject {
            answer: admitted.hook().map(call),
            why: format!("received {RECEIVES_MAX} times without coming to an end"),
        },
        (next, _) => next,
    }
}

/// The decision about an instance whose decision panicked once: all its messages come back.
pub fn postpone(snapshot: &Snapshot) -> Decision {
    comes_back(snapshot, |seen| look_again(seen, snapshot.now))
}

/// The decision about an instance that was not looked at in this turn, since others are cordoned first: at once again.
pub fn makes_way_for_cordons(snapshot: &Snapshot) -> Decision {
    comes_back(snapshot, |_| snapshot.now)
}

fn comes_back(snapshot: &Snapshot, at: impl Fn(&Seen) -> Timestamp) -> Decision {
    let answers = snapshot
        .signals
        .iter()
        .map(|seen| {
            let next = Next::ComeBack { at: at(seen) };
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
                    Next::Reject { answer: admitted.hook().map(call), why: why.to_owned() }
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
    let Some(hook) = admitted.hook() else {
        return unanswered(admitted, course, snapshot);
    };
    let answer = |result: HookResult, why: String| Next::Answer { call: call(hook), result, why };
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

/// The same for an interruption, for which nobody waits.
fn unanswered(admitted: &Admitted<'_>, course: Option<&Course>, snapshot: &Snapshot) -> Next {
    match course.map(|course| &course.end) {
        Some(End::Done(_, why)) => Next::Finished(Ending::Done(why.clone())),
        Some(End::Again(at)) => Next::ComeBack { at: *at },
        None => Next::ComeBack { at: look_again(admitted.seen, snapshot.now) },
    }
}

/// A heartbeat for each action that needs one: it restarts the period, and says whether the action still waits. Also for
/// signals that could not be admitted this time because AWS's reads failed, if AWS took a heartbeat for them before.
fn heartbeats(admitted: &[&Admitted<'_>], snapshot: &Snapshot, policy: &Policy) -> Vec<Step> {
    if policy.mode != Mode::Act {
        return Vec::new();
    }
    let is = |known: &&&Admitted<'_>, token: &str| {
        known.hook().is_some_and(|hook| hook.token.fingerprint() == token)
    };
    let known = |token: &str| admitted.iter().find(|known| is(known, token));
    let mut calls: Vec<_> = snapshot
        .signals
        .iter()
        .filter_map(|seen| {
            let hook = seen.signal.hook()?;
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
