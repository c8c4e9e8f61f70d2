//! A departure whose node is there: the steps that need the cluster.

use super::record::{
    begun, current, is_cordoned, merged, own, patch, recordoned, withdrawing, without,
};
use super::withdrawal::{Withdrawal, reserves};
use super::{Case, is_going, is_last_moment};
use crate::admit::{Admitted, Asks};
use crate::annotation::{Departure, FORCE, HOLD_UNTIL};
use crate::arrival::undo;
use crate::budget::{NodeOrder, charged, node_order};
use crate::decision::Course;
use crate::judge::{Bench, judge, must_end_from};
use crate::limits::{
    BLOCKED_AFTER, BLOCKED_REPORT_EVERY, ORDER_SETTLES, REMOVALS_AT_ONCE_MAX, SETTLING_LOOK,
};
use crate::policy::{Mode, Reaction};
use crate::report::{Report, Stage};
use crate::snapshot::cluster::NodeView;
use crate::step::{NodePatch, Note, NoteSubject, PatchPurpose, Removal, Step};
use crate::time::Timestamp;
use crate::verdict::{Forced, Held, Judged, Stays, Verdict};
use crate::withdraw::{Known, Order, Records};

/// Decides for a node that was found and verified.
pub(super) fn decide(case: &Case<'_>, view: &NodeView, mut report: Report) -> Course {
    report.node = Some(view.node.name.clone());
    let recorded = current(case, &view.node);
    if case.lapses_at().is_some_and(|at| case.now() >= at) {
        return lapsed(case, view, own(case, &view.node).as_ref(), report);
    }
    let owed = cordon(case, view, recorded.as_ref());
    if case.policy.mode == Mode::Observe {
        return observed(case, view, (recorded, owed), report);
    }
    if let Some(patch) = owed {
        report.stage = Stage::Cordoning;
        let mut steps = vec![Step::PatchNode(patch)];
        if recorded.is_none() {
            steps.push(departing(case, view));
        }
        return case.again(steps, report, case.now());
    }
    let record = recorded.unwrap_or_else(|| begun(case, &view.node));
    if case.reaction() == Reaction::Drain {
        cordoned(case, view, &record, report)
    } else {
        only_cordoned(case, report)
    }
}

/// No more than a cordon is asked for: a recommendation holds for its time, anything else is done.
fn only_cordoned(case: &Case<'_>, mut report: Report) -> Course {
    match case.lapses_at() {
        Some(at) => {
            report.stage = Stage::Recommended(at);
            case.again(Vec::new(), report, at)
        }
        None => {
            report.stage = Stage::Cordoned;
            case.done(Vec::new(), report, "cordoned; the policy asks for no more".into())
        }
    }
}

/// Nothing followed the recommendation: its part of the record goes, and with the last part the cordon.
fn lapsed(
    case: &Case<'_>,
    view: &NodeView,
    recorded: Option<&Departure>,
    mut report: Report,
) -> Course {
    report.stage = Stage::Lapsed;
    if is_going(case.snapshot) {
        let why = "the instance is going: nothing is taken back";
        return case.done(Vec::new(), report, why.into());
    }
    let Some(record) = recorded else {
        return case.done(Vec::new(), report, "nothing followed; the cordon is taken back".into());
    };
    let rest = without(record, case.signals);
    if !rest.because.is_empty() || !rest.withdrawn.is_empty() {
        let why = "something followed, which has its own course".to_owned();
        if rest == *record || case.policy.mode == Mode::Observe {
            return case.done(Vec::new(), report, why);
        }
        let step = Step::PatchNode(patch(&view.node, &rest, PatchPurpose::Record));
        return case.again(vec![step], report, case.now());
    }
    let step = Step::PatchNode(undo(&view.node, record));
    case.again(vec![step], report, case.now())
}

/// Nothing will be written, so this turn is all there is: it tells what the turns of mode `act` would do one after
/// the other, as if the record had been on the node since the signal was sent.
fn observed(
    case: &Case<'_>,
    view: &NodeView,
    (recorded, owed): (Option<Departure>, Option<NodePatch>),
    report: Report,
) -> Course {
    let record = recorded.unwrap_or_else(|| Departure {
        since: case.since,
        ranked_at: case.since - ORDER_SETTLES,
        ..begun(case, &view.node)
    });
    let mut course = if case.reaction() == Reaction::Drain {
        cordoned(case, view, &record, report)
    } else {
        only_cordoned(case, report)
    };
    course.steps.splice(0..0, owed.map(Step::PatchNode));
    course
}

/// The PATCH that is owed before anything else may happen to this node.
fn cordon(case: &Case<'_>, view: &NodeView, recorded: Option<&Departure>) -> Option<NodePatch> {
    let Some(record) = recorded else {
        return Some(patch(&view.node, &begun(case, &view.node), PatchPurpose::Cordon));
    };
    let merged = merged(case, record);
    if !is_cordoned(&view.node) {
        let record = recordoned(merged, &view.node);
        return Some(patch(&view.node, &record, PatchPurpose::Cordon));
    }
    (merged != *record).then(|| patch(&view.node, &merged, PatchPurpose::Record))
}

/// The Event that says so on the node.
fn departing(case: &Case<'_>, view: &NodeView) -> Step {
    let by: Vec<String> = case.signals.iter().map(by).collect();
    let until = case
        .hard
        .map_or_else(|| "no hard deadline".to_owned(), |at| format!("at the latest at {at}"));
    Step::Note(Note {
        about: NoteSubject::Node { name: view.node.name.clone(), uid: view.node.uid.clone() },
        warning: false,
        reason: "Departing",
        text: format!("{} leaves service for {}; {until}", case.snapshot.instance, by.join(", ")),
    })
}

/// By whom the departure is asked for, in words.
fn by(signal: &Admitted<'_>) -> String {
    match signal.asks {
        Asks::Hook { signal, .. } => format!("hook {}", signal.hook),
        Asks::Interruption { interruption, .. } => interruption.cause.to_string(),
    }
}

fn cordoned(case: &Case<'_>, view: &NodeView, record: &Departure, mut report: Report) -> Course {
    report.record(record);
    let records = view.peers.as_ref().ok().map(|peers| Known::new(peers.records(), record));
    let order = Order {
        begun: record.since,
        hard: record.hard().or(case.hard),
        records: records.map_or(Records::Unread(record), Records::Known),
        reserves: reserves(case, view, record),
        ..super::order(case)
    };
    let mut withdrawal = Withdrawal::look(case, &order, record);
    withdrawal.tell(&mut report);
    if withdrawal.must_be_recorded() && case.policy.mode != Mode::Observe {
        report.stage = Stage::Withdrawing;
        let record = withdrawing(record, &withdrawal.to_record, case.now());
        let step = Step::PatchNode(patch(&view.node, &record, PatchPurpose::Record));
        return case.again(vec![step], report, case.now());
    }
    let mut steps = Vec::new();
    if !withdrawal.to_record.is_empty() {
        let record = withdrawing(record, &withdrawal.to_record, case.now());
        steps.push(Step::PatchNode(patch(&view.node, &record, PatchPurpose::Record)));
    }
    steps.append(&mut withdrawal.steps);
    pods(case, view, record, (steps, &withdrawal), report)
}

fn pods(
    case: &Case<'_>,
    view: &NodeView,
    record: &Departure,
    (mut steps, withdrawal): (Vec<Step>, &Withdrawal<'_>),
    mut report: Report,
) -> Course {
    let pods = match &view.pods {
        Ok(pods) => pods,
        Err(_) if !steps.is_empty() => {
            report.stage = Stage::Withdrawing;
            return last_or(case, steps, report, withdrawal.wake.unwrap_or_else(|| case.look()));
        }
        Err(unread) => {
            report.unread(&unread.why);
            return last_or(case, steps, report, case.look());
        }
    };
    let order = places(case, view, record);
    let bench = Bench {
        now: case.now(),
        policy: case.policy,
        view,
        begun: record.since,
        hard: record.hard().into_iter().chain(case.hard).min(),
        soft: soft(case, view),
        forced: force(view),
        paths: withdrawal.unread.map_or(Ok(withdrawal.paths.as_slice()), Err),
        order: &order,
        memory: &case.snapshot.memory,
        look: case.look(),
    };
    let judged = judge(pods, &bench);
    steps.extend(removals(&judged, view));
    report.pods(&judged, case.snapshot, &bench);
    if judged.iter().any(|judged| is_waited_for(judged, case, &bench)) {
        report.stage = Stage::Draining;
        steps.extend(blocked(case, view, &mut report));
        return last_or(case, steps, report, next_look(&judged, &bench, withdrawal.wake));
    }
    let others_hold_volumes = judged.iter().any(|judged| {
        let stuck = judged.verdict == Verdict::Leave(Stays::Stuck);
        judged.pod.claims && (stuck || !is_leaving(judged.pod))
    });
    emptied(case, view, steps, withdrawal, (report, others_hold_volumes))
}

/// Whether the departure waits for this pod. Past its deadline a host that no hook holds ends when it ends: what is told to
/// go has been told.
fn is_waited_for(judged: &Judged<'_>, case: &Case<'_>, bench: &Bench<'_>) -> bool {
    let told = matches!(judged.verdict, Verdict::Hold(_, Held::Terminating));
    let is_late = !case.is_held() && bench.hard.is_some_and(|hard| case.now() >= hard);
    judged.is_waited_for() && !(is_late && told)
}

/// The order with this node in it: the list does not have it while it is only observed. Without a list there is no
/// order, and nobody's place in it; nor is one needed where no pod has siblings, as in most of a storm's looks.
fn places(case: &Case<'_>, view: &NodeView, record: &Departure) -> NodeOrder {
    let has_siblings = view.siblings.as_ref().is_ok_and(|siblings| !siblings.is_empty());
    let (Ok(peers), true) = (&view.peers, has_siblings) else { return NodeOrder::new() };
    let mut order = node_order(peers);
    let hard = record.hard().unwrap_or(Timestamp::from_millis(i64::MAX));
    order.entry(view.node.name.clone()).or_insert((hard, case.snapshot.instance.clone()));
    order
}

/// An Event on the node when the drain has stood still for a while, now and then.
fn blocked(case: &Case<'_>, view: &NodeView, report: &mut Report) -> Option<Step> {
    let told = case.snapshot.memory.blocked_reported_at;
    let due = told.is_none_or(|at| case.now().since(at) >= BLOCKED_REPORT_EVERY);
    // With little time left, the first word comes while somebody can still act on it.
    let slow =
        report.hard.map_or(BLOCKED_AFTER, |hard| BLOCKED_AFTER.min(case.since.until(hard) / 4));
    if !report.is_blocked() || case.now().since(case.since) < slow || !due {
        return None;
    }
    report.tell_blocked = true;
    Some(Step::Note(Note {
        about: NoteSubject::Node { name: view.node.name.clone(), uid: view.node.uid.clone() },
        warning: true,
        reason: "DrainBlocked",
        text: report.page(case.now(), case.policy),
    }))
}

fn is_leaving(pod: &crate::snapshot::cluster::Pod) -> bool {
    pod.deletion.is_some()
}

/// The pods are gone: what the load balancers still need the node for, and volumes, which leave meanwhile.
fn emptied(
    case: &Case<'_>,
    view: &NodeView,
    steps: Vec<Step>,
    withdrawal: &Withdrawal<'_>,
    (mut report, others_hold_volumes): (Report, bool),
) -> Course {
    if withdrawal.unread.is_some() {
        return last_or(case, steps, report, case.look());
    }
    if let (false, Some(_)) = (case.is_held(), withdrawal.stays_until) {
        report.stage = Stage::Withdrawing;
        let at = withdrawal.wake.map_or_else(|| case.look(), |wake| wake.min(case.look()));
        return last_or(case, steps, report, at);
    }
    if let Some(at) = case.lapses_at() {
        report.stage = Stage::Recommended(at);
        return case.again(steps, report, at);
    }
    if let Some(until) = withdrawal.stays_until {
        report.stage = Stage::Settling(until);
        let at = (case.now() + SETTLING_LOOK).max(case.look()).min(case.in_time());
        return last_or(case, steps, report, withdrawal.wake.map_or(at, |wake| wake.min(at)));
    }
    let attached = match &view.volumes {
        Ok(volumes) if others_hold_volumes => {
            report.volumes_left(volumes);
            false
        }
        Ok(volumes) => !volumes.is_empty(),
        Err(_) => true,
    };
    // Without a hook nobody could keep the host for its volumes.
    if attached && case.is_held() && case.now() < soft(case, view) {
        report.stage = Stage::Detaching;
        report.volumes(view.volumes.as_deref().unwrap_or_default());
        return last_or(case, steps, report, case.look());
    }
    report.stage = Stage::Drained;
    case.done(steps, report, "drained: pods, registrations and volumes are gone".into())
}

/// Not done: again at `at`, unless the hook must be answered now.
fn last_or(case: &Case<'_>, steps: Vec<Step>, mut report: Report, at: Timestamp) -> Course {
    if is_last_moment(case) {
        let why = format!("the deadline; left: {}", report.left());
        report.stage = Stage::Overdue;
        return case.done(steps, report, why);
    }
    case.again(steps, report, at)
}

/// When something may change: a held pod's own instant, the moment from which a pod is forced, the soft deadline, the
/// groups'; or the next look.
fn next_look(judged: &[Judged<'_>], bench: &Bench<'_>, wake: Option<Timestamp>) -> Timestamp {
    let waited = || judged.iter().filter(|judged| judged.is_waited_for());
    if waited().filter(|judged| judged.is_removed()).count() > REMOVALS_AT_ONCE_MAX {
        return bench.now;
    }
    let held = waited().filter_map(|judged| match judged.verdict {
        Verdict::Hold(until, _) => Some(until),
        Verdict::Evict if !bench.memory.evictions.contains_key(&judged.pod.uid) => {
            // Accepted for the first time: its end is near, and others may wait for it.
            Some(bench.now + SETTLING_LOOK)
        }
        _ => None,
    });
    let forced = waited().filter_map(|judged| Some(must_end_from(judged.pod, bench, bench.hard?)));
    let ahead = held.chain(forced).chain([bench.soft]).chain(wake).filter(|at| *at > bench.now);
    ahead.chain([bench.look]).min().unwrap_or(bench.look)
}

fn removals(judged: &[Judged<'_>], view: &NodeView) -> Vec<Step> {
    let budgets = view.budgets.as_deref().unwrap_or_default();
    judged
        .iter()
        .filter_map(|judged| {
            let pod = Removal { pod: judged.pod.key.clone(), uid: judged.pod.uid.clone() };
            match judged.verdict {
                Verdict::Evict => Some(Step::Evict { pod, budget: charged(judged.pod, budgets) }),
                Verdict::Force(grace, _) => {
                    let grace_seconds = u32::try_from(grace.as_secs()).unwrap_or(u32::MAX).max(1);
                    Some(Step::Delete { pod, grace_seconds })
                }
                Verdict::Leave(_) | Verdict::Hold(..) | Verdict::StepAside | Verdict::Gone => None,
            }
        })
        .take(REMOVALS_AT_ONCE_MAX)
        .collect()
}

/// The soft deadline: the longest drain, or the instant that a person wrote on the node.
fn soft(case: &Case<'_>, view: &NodeView) -> Timestamp {
    let longest = case.since + case.policy.longest_drain;
    let held = view.node.annotations.get(HOLD_UNTIL).and_then(|text| instant(text, case.now()));
    held.map_or(longest, |until| longest.max(until))
}

/// RFC 3339, or `15:30Z`: the one nearest to now, so that a time that has passed stays in the past.
fn instant(text: &str, now: Timestamp) -> Option<Timestamp> {
    if let Ok(instant) = Timestamp::parse_rfc3339(text) {
        return Some(instant);
    }
    let (hours, minutes) = text.strip_suffix('Z')?.split_once(':')?;
    let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
    if !(0..24).contains(&hours) || !(0..60).contains(&minutes) {
        return None;
    }
    let day_ms = 86_400_000;
    let in_day = (hours * 60 + minutes) * 60_000;
    let ahead = (in_day - now.millis()).rem_euclid(day_ms);
    let offset = if ahead > day_ms / 2 { ahead - day_ms } else { ahead };
    Some(Timestamp::from_millis(now.millis() + offset))
}

/// A person's order on the node.
fn force(view: &NodeView) -> Option<Forced> {
    let ordered = view.node.annotations.get(FORCE).is_some_and(|value| value == "now");
    ordered.then_some(Forced::Person)
}
