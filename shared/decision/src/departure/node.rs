//! A departure whose node is there: the steps that need the cluster.

use super::record::{begun, current, is_cordoned, merged, patch, withdrawing};
use super::{Case, deregister, is_last_moment};
use crate::annotation::{Departure, FORCE, HOLD_UNTIL};
use crate::budget::{NodeOrder, node_order};
use crate::decision::Course;
use crate::id::InstanceId;
use crate::judge::{Bench, Path, judge};
use crate::limits::{BLOCKED_AFTER, BLOCKED_REPORT_EVERY, RECORD_FRESH, REMOVALS_AT_ONCE_MAX, SETTLING_LOOK};
use crate::policy::Mode;
use crate::report::{Report, Stage};
use crate::snapshot::aws::TargetGroup;
use crate::snapshot::cluster::{NodeView, Peer};
use crate::step::{NodePatch, Note, NoteSubject, PatchPurpose, Removal, Step, TargetId};
use crate::time::Timestamp;
use crate::verdict::{Forced, Judged, Verdict};
use crate::withdraw::{May, Order, Records, Standing, standing};
use std::collections::BTreeMap;

/// Decides for a node that was found and verified.
pub(super) fn decide(case: &Case<'_>, view: &NodeView, mut report: Report) -> Course {
    report.node = Some(view.node.name.clone());
    let recorded = current(case, &view.node);
    if case.policy.mode != Mode::Observe {
        if let Some(patch) = cordon(case, view, recorded.as_ref()) {
            report.stage = Stage::Cordoning;
            let steps = cordoning(case, view, patch, recorded.is_none());
            return case.again(steps, report, case.now());
        }
    }
    let record = recorded.unwrap_or_else(|| begun(case, &view.node));
    cordoned(case, view, &record, report)
}

/// The PATCH that is owed before anything else may happen to this node.
fn cordon(case: &Case<'_>, view: &NodeView, recorded: Option<&Departure>) -> Option<NodePatch> {
    let Some(record) = recorded else {
        return Some(patch(&view.node, &begun(case, &view.node), PatchPurpose::Cordon));
    };
    let merged = merged(case, record);
    if !is_cordoned(&view.node) {
        return Some(patch(&view.node, &merged, PatchPurpose::Cordon));
    }
    (merged != *record).then(|| patch(&view.node, &merged, PatchPurpose::Record))
}

fn cordoning(case: &Case<'_>, view: &NodeView, patch: NodePatch, first: bool) -> Vec<Step> {
    let mut steps = vec![Step::PatchNode(patch)];
    if first {
        let hooks: Vec<&str> = case.signals.iter().map(|signal| signal.hook.hook.as_str()).collect();
        let until = case.hard.map_or_else(|| "no hard deadline".to_owned(), |at| format!("at the latest at {at}"));
        steps.push(Step::Note(Note {
            about: NoteSubject::Node { name: view.node.name.clone(), uid: view.node.uid.clone() },
            warning: false,
            reason: "Departing",
            text: format!("{} leaves service for {}; {until}", case.snapshot.instance, hooks.join(", ")),
        }));
    }
    steps
}

fn cordoned(case: &Case<'_>, view: &NodeView, record: &Departure, mut report: Report) -> Course {
    let records = view.peers.as_ref().ok().map(|peers| records(peers, record));
    let order = Order {
        now: case.now(),
        me: &case.snapshot.instance,
        since: case.since,
        hard: record.hard().or(case.hard),
        records: records.as_ref().map_or(Records::Unread, Records::Known),
    };
    let mut withdrawal = Withdrawal::default();
    match &case.snapshot.aws.target_groups {
        Ok(groups) => groups.iter().for_each(|group| withdrawal.look(group, &order, case, record)),
        Err(unread) => withdrawal.unread = Some(unread.why.clone()),
    }
    withdrawal.tell(&mut report);
    if !withdrawal.to_record.is_empty() && case.policy.mode != Mode::Observe {
        report.stage = Stage::Withdrawing;
        let record = withdrawing(record, &withdrawal.to_record, case.now());
        let step = Step::PatchNode(patch(&view.node, &record, PatchPurpose::Record));
        return case.again(vec![step], report, case.now());
    }
    let steps = std::mem::take(&mut withdrawal.steps);
    pods(case, view, steps, &withdrawal, report)
}

/// The records of all departing nodes; ours as it was just read, since the list may be a moment older.
pub(crate) fn records(peers: &[Peer], own: &Departure) -> BTreeMap<InstanceId, Departure> {
    let mut records: BTreeMap<_, _> = peers
        .iter()
        .filter_map(|peer| Some((peer.instance.clone(), Departure::parse(&peer.annotation)?)))
        .collect();
    records.insert(own.instance.clone(), own.clone());
    records
}

/// Where the node stands with all its target groups, and what is to be done about it.
#[derive(Debug, Default)]
struct Withdrawal<'a> {
    /// Calls for groups whose withdrawal is on record.
    steps: Vec<Step>,
    /// Groups to put on record first.
    to_record: Vec<(&'a TargetGroup, Vec<TargetId>)>,
    /// How requests reach the node.
    paths: Vec<Path>,
    /// The standing of each group.
    standings: Vec<(&'a TargetGroup, Standing)>,
    /// Until when the node must stay for its load balancers' sake.
    stays_until: Option<Timestamp>,
    /// Why the groups could not be read.
    unread: Option<String>,
}

impl<'a> Withdrawal<'a> {
    fn look(&mut self, group: &'a TargetGroup, order: &Order<'_>, case: &Case<'_>, record: &Departure) {
        let standing = standing(group, order, case.policy);
        match &standing {
            Standing::Registered { targets, may: May::Now } => {
                let fresh = record.withdrawn_from(&group.arn).is_some_and(|withdrawn| {
                    withdrawn.targets == *targets && case.now().since(withdrawn.at) <= RECORD_FRESH
                });
                if fresh {
                    self.steps.push(deregister(group, targets.clone()));
                } else {
                    self.to_record.push((group, targets.clone()));
                }
                self.stay(case.now());
            }
            Standing::Registered { may: May::Later { at, .. }, .. } => self.stay(*at),
            Standing::Leaving { drained, .. } => self.stay((*drained).max(case.now())),
            Standing::Clear | Standing::Registered { may: May::LastLiving, .. } => {}
        }
        self.paths.push(Path { ports: ports(group, case, record), standing: standing.clone() });
        self.standings.push((group, standing));
    }

    fn stay(&mut self, until: Timestamp) {
        self.stays_until = self.stays_until.max(Some(until));
    }

    fn tell(&self, report: &mut Report) {
        for (group, standing) in &self.standings {
            report.registration(group, standing);
        }
        if let Some(why) = &self.unread {
            report.unread(why);
        }
    }
}

/// The ports at which the group reaches the instance: as registered now, or as our record says; else unknown.
fn ports(group: &TargetGroup, case: &Case<'_>, record: &Departure) -> Option<std::collections::BTreeSet<u16>> {
    let me = case.snapshot.instance.as_str();
    let now = group.targets.iter().filter(|target| target.id == me).map(|target| target.port);
    let then = record
        .withdrawn_from(&group.arn)
        .into_iter()
        .flat_map(|withdrawn| withdrawn.targets.iter().map(|target| target.port));
    let ports: std::collections::BTreeSet<u16> = now.chain(then).collect();
    (!ports.is_empty()).then_some(ports)
}

fn pods(
    case: &Case<'_>,
    view: &NodeView,
    mut steps: Vec<Step>,
    withdrawal: &Withdrawal<'_>,
    mut report: Report,
) -> Course {
    let pods = match &view.pods {
        Ok(pods) => pods,
        Err(_) if !steps.is_empty() => {
            report.stage = Stage::Withdrawing;
            return last_or(case, steps, report, case.now());
        }
        Err(unread) => {
            report.unread(&unread.why);
            return last_or(case, steps, report, case.look());
        }
    };
    let order: NodeOrder = view.peers.as_deref().map(node_order).unwrap_or_default();
    let soft = soft(case, view);
    let bench = Bench {
        now: case.now(),
        policy: case.policy,
        view,
        since: case.since,
        hard: case.hard,
        soft,
        forced: force(view),
        paths: &withdrawal.paths,
        order: &order,
        memory: &case.snapshot.memory,
        look: case.look(),
    };
    let judged = judge(pods, &bench);
    steps.extend(removals(&judged));
    report.pods(&judged, view, case.snapshot, soft);
    let left = judged.iter().any(Judged::is_waited_for);
    let next = next_look(case, &judged);
    if left {
        report.stage = Stage::Draining;
        steps.extend(blocked(case, view, &mut report));
        return last_or(case, steps, report, next);
    }
    emptied(case, view, steps, withdrawal, (report, pods.iter().any(|pod| pod.claims && !is_leaving(pod))))
}

/// An Event on the node when the drain has stood still for a while, now and then.
fn blocked(case: &Case<'_>, view: &NodeView, report: &mut Report) -> Option<Step> {
    let told = case.snapshot.memory.blocked_reported_at;
    let due = told.is_none_or(|at| case.now().since(at) >= BLOCKED_REPORT_EVERY);
    if !report.is_blocked() || case.now().since(case.since) < BLOCKED_AFTER || !due {
        return None;
    }
    report.tell_blocked = true;
    Some(Step::Note(Note {
        about: NoteSubject::Node { name: view.node.name.clone(), uid: view.node.uid.clone() },
        warning: true,
        reason: "DrainBlocked",
        text: report.blocked_page(case.now(), case.policy),
    }))
}

fn is_leaving(pod: &crate::snapshot::cluster::Pod) -> bool {
    pod.deletion.is_some()
}

/// The pods are gone: volumes next, then what the load balancers still need the node for.
fn emptied(
    case: &Case<'_>,
    view: &NodeView,
    steps: Vec<Step>,
    withdrawal: &Withdrawal<'_>,
    (mut report, others_hold_volumes): (Report, bool),
) -> Course {
    let attached = match &view.volumes {
        Ok(volumes) if others_hold_volumes => {
            report.volumes_left(volumes);
            false
        }
        Ok(volumes) => !volumes.is_empty(),
        Err(_) => true,
    };
    if attached && case.now() < soft(case, view) {
        report.stage = Stage::Detaching;
        report.volumes(view.volumes.as_deref().unwrap_or_default());
        return last_or(case, steps, report, case.look());
    }
    if withdrawal.unread.is_some() {
        return last_or(case, steps, report, case.look());
    }
    if let Some(until) = withdrawal.stays_until {
        report.stage = Stage::Settling(until);
        return last_or(case, steps, report, until.min(case.now() + SETTLING_LOOK).min(case.in_time()));
    }
    report.stage = Stage::Drained;
    case.done(steps, report, "drained: pods, registrations and volumes are gone".into())
}

/// Not done: again at `at`, unless the hook must be answered now.
fn last_or(case: &Case<'_>, steps: Vec<Step>, mut report: Report, at: Timestamp) -> Course {
    if is_last_moment(case) {
        let why = format!("the hook's deadline; left: {}", report.left());
        report.stage = Stage::Overdue;
        return case.done(steps, report, why);
    }
    case.again(steps, report, at)
}

/// When something that is held may change: its own instant, or the next look.
fn next_look(case: &Case<'_>, judged: &[Judged<'_>]) -> Timestamp {
    let held = judged.iter().filter_map(|judged| match judged.verdict {
        Verdict::Hold(until, _) if until > case.now() => Some(until),
        _ => None,
    });
    held.chain([case.look()]).min().unwrap_or(case.now())
}

fn removals(judged: &[Judged<'_>]) -> Vec<Step> {
    judged
        .iter()
        .filter_map(|judged| {
            let pod = Removal { pod: judged.pod.key.clone(), uid: judged.pod.uid.clone() };
            match judged.verdict {
                Verdict::Evict => Some(Step::Evict(pod)),
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
