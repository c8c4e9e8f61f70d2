//! Where a departing node stands with all its target groups, and what is to be done about it now.
//!
//! A call follows only a record: who reads the record counts the target as gone, so the floor holds for everybody. A
//! call that failed is made again, with the record written anew since the settle time counts from it; the drain goes
//! on meanwhile.

use super::record::{Noted, noted};
use super::{Case, deregister_within};
use crate::annotation::{Departure, Withdrawn};
use crate::id::{InstanceId, TargetGroupArn};
use crate::judge::{Path, leads_to, must_go, ports_served};
use crate::limits::{
    CLAIM_LASTS, HEALTH_FRESH, LEADER_ACTS, RECORD_FRESH, SERVING_GRACE_MAX, STORM_NODES,
    TARGETS_AT_ONCE_MAX,
};
use crate::policy::Mode;
use crate::report::Report;
use crate::snapshot::Unread;
use crate::snapshot::aws::TargetGroup;
use crate::snapshot::cluster::NodeView;
use crate::step::{Step, TargetId};
use crate::time::Timestamp;
use crate::withdraw::{May, Order, Records, Standing, Wait, all_fit, fresh_for, standing};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The standings of a node, and what follows from them.
#[derive(Debug, Default)]
pub(super) struct Withdrawal<'a> {
    /// Calls for groups whose withdrawal is on record.
    pub(super) steps: Vec<Step>,
    /// Groups to put on record.
    pub(super) to_record: Vec<(&'a TargetGroup, Vec<TargetId>)>,
    /// How requests reach the node.
    pub(super) paths: Vec<Path>,
    /// Until when the node must stay for its load balancers' sake.
    pub(super) stays_until: Option<Timestamp>,
    /// Why the groups could not be read.
    pub(super) unread: Option<&'a Unread>,
    /// When to look again: the earliest instant at which something about a group may change.
    pub(super) wake: Option<Timestamp>,
    /// The standing of each group.
    standings: Vec<(&'a TargetGroup, Standing)>,
    /// Whether a group has no record yet, which comes before everything else.
    unrecorded: bool,
}

impl<'a> Withdrawal<'a> {
    /// Looks at every target group of the snapshot.
    pub(super) fn look(case: &Case<'a>, order: &Order<'_>, record: &Departure) -> Self {
        let mut withdrawal = Self::default();
        match &case.snapshot.aws.target_groups {
            Ok(groups) => {
                groups.iter().for_each(|group| withdrawal.add(group, case, order, record));
            }
            Err(unread) => withdrawal.unread = Some(unread),
        }
        withdrawal
    }

    fn add(
        &mut self,
        group: &'a TargetGroup,
        case: &Case<'_>,
        order: &Order<'_>,
        record: &Departure,
    ) {
        let (now, look) = (case.now(), case.look());
        let mut standing = standing(group, order, case.policy);
        if let (Some(at), Standing::Registered { may, .. }) = (case.lapses_at(), &mut standing) {
            // A recommendation never touches a load balancer.
            *may = May::Later { at, why: Wait::Recommended };
        }
        match &standing {
            Standing::Registered { targets, may: May::Now } => {
                self.leave(group, targets, case, (record, order));
            }
            Standing::Registered { may: May::Later { why: Wait::Recommended, .. }, .. } => {}
            Standing::Registered { may: May::Later { at, why }, .. } => {
                // A list that fails is tried at the usual pace: it may fail for hours.
                let wake = if *why == Wait::Unlisted { look } else { *at };
                self.stay(*at, wake);
            }
            // Without a hook, nobody can make the host outlive its connections.
            Standing::Leaving { settled, drained } if case.is_held() => {
                let ahead = [*settled, *drained].into_iter().filter(|at| *at > now).min();
                self.stay((*drained).max(now), ahead.unwrap_or(look));
            }
            // Others may turn healthy while the host still lives.
            Standing::Registered { may: May::LastLiving, .. } if !case.is_held() => {
                self.stay(look, look);
            }
            Standing::Clear
            | Standing::Leaving { .. }
            | Standing::Registered { may: May::LastLiving, .. } => {}
        }
        self.paths.push(Path { ports: ports(group, case, record), standing: standing.clone() });
        self.standings.push((group, standing));
    }

    fn leave(
        &mut self,
        group: &'a TargetGroup,
        targets: &[TargetId],
        case: &Case<'_>,
        (record, order): (&Departure, &Order<'_>),
    ) {
        let noted = noted(record, group, targets, case.now());
        if matches!(noted, Noted::Not | Noted::Failed) {
            self.to_record.push((group, targets.to_vec()));
        }
        if let Some(at) = follows(group, order, record).filter(|at| *at > case.now()) {
            self.stay(case.now(), at.min(case.look()));
        } else if noted != Noted::Not || case.policy.mode == Mode::Observe {
            let mut targets = targets.to_vec();
            if all_fit(group, order, case.policy) {
                targets.extend(others(group, order, case.now()));
            }
            let fresh_for = fresh_for(group, order, case.policy);
            self.steps.push(deregister_within(group, targets, fresh_for));
            // With an old record the call was made before: no reason to hurry.
            let is_old = matches!(noted, Noted::Failed | Noted::Unseen);
            self.stay(case.now(), if is_old { case.look() } else { case.now() });
        } else {
            self.unrecorded = true;
            self.stay(case.now(), case.now());
        }
    }

    fn stay(&mut self, until: Timestamp, wake: Timestamp) {
        self.stays_until = self.stays_until.max(Some(until));
        self.wake = Some(self.wake.map_or(wake, |other| other.min(wake)));
    }

    /// Whether a group must be put on record before anything else is done.
    pub(super) fn must_be_recorded(&self) -> bool {
        self.unrecorded
    }

    pub(super) fn tell(&self, report: &mut Report) {
        for (group, standing) in &self.standings {
            report.registration(group, standing);
        }
        if let Some(unread) = self.unread {
            report.unread(&unread.why);
        }
    }
}

/// What other departing nodes have written down a moment ago and that is still in: one call takes out all of them, since
/// calls are what AWS rations. An old record may be about an earlier life of its instance, so it is left to its owner.
fn others(group: &TargetGroup, order: &Order<'_>, now: Timestamp) -> Vec<TargetId> {
    let is_in: BTreeSet<(&str, u16)> = registered(group).collect();
    claims(group, order)
        .filter(|(_, claim)| now.since(claim.at) <= CLAIM_LASTS)
        .flat_map(|(own, claim)| claim.targets.iter().filter(|target| target.id == own.as_str()))
        .filter(|target| is_in.contains(&(target.id.as_str(), target.port)))
        .take(TARGETS_AT_ONCE_MAX)
        .cloned()
        .collect()
}

/// The written withdrawals of the other departing nodes from this group.
fn claims<'a>(
    group: &'a TargetGroup,
    order: &Order<'a>,
) -> impl Iterator<Item = (&'a InstanceId, &'a Withdrawn)> {
    let known = match order.records {
        Records::Known(records) => Some(records),
        Records::Unread(_) | Records::NoNode | Records::Unreachable => None,
    };
    let others = known.into_iter().flat_map(|known| known.others());
    others.filter_map(|(instance, record)| Some((instance, record.withdrawn_from(&group.arn)?)))
}

/// In a storm, until when another node's process is left to make the call: the one that wrote its withdrawal down first, of
/// those that are still in. Its call takes this node's targets along. Whoever has just read the group need not wait: looks
/// are what AWS rations.
pub(crate) fn follows(
    group: &TargetGroup,
    order: &Order<'_>,
    record: &Departure,
) -> Option<Timestamp> {
    let Records::Known(records) = order.records else { return None };
    let is_fresh = order.now.since(group.read_at) < HEALTH_FRESH / 2;
    let mine = record.withdrawn_from(&group.arn);
    let mine = mine.filter(|_| records.len() >= STORM_NODES && !is_fresh)?;
    let is_in = |instance: &InstanceId| {
        group.targets.of(instance.as_str()).iter().any(|target| target.state.is_registered())
    };
    let before = |(instance, claim): &(&InstanceId, &Withdrawn)| {
        order.now.since(claim.at) <= CLAIM_LASTS
            && (claim.at, *instance) < (mine.at, order.me)
            && is_in(instance)
    };
    // What is no longer fresh counts as failed and is written anew, which must not begin the wait again.
    claims(group, order)
        .any(|claim| before(&claim))
        .then(|| mine.at + LEADER_ACTS.min(RECORD_FRESH))
}

/// What is in the group: instance and port.
fn registered(group: &TargetGroup) -> impl Iterator<Item = (&str, u16)> {
    let targets = group.targets.iter().filter(|target| target.state.is_registered());
    targets.map(|target| (target.id.as_str(), target.port))
}

/// By group, the grace that the pods need which serve what arrives here through it, as far as those are known: one that
/// must still leave in time for them leaves that much earlier.
pub(crate) fn reserves(
    case: &Case<'_>,
    view: &NodeView,
    record: &Departure,
) -> BTreeMap<TargetGroupArn, Duration> {
    let (Ok(pods), Ok(services)) = (&view.pods, &view.services) else { return BTreeMap::new() };
    let groups = case.snapshot.aws.target_groups.iter().flatten();
    groups
        .filter_map(|group| {
            let ports = ports(group, case, record);
            let serving = pods.iter().filter(|pod| {
                let served = ports_served(pod, services);
                must_go(pod) && leads_to(ports.as_ref(), &served)
            });
            let grace = serving.map(|pod| pod.grace.min(SERVING_GRACE_MAX)).max()?;
            Some((group.arn.clone(), grace))
        })
        .collect()
}

/// The ports at which the group reaches the instance: as registered now, or as our record says; else unknown.
fn ports(group: &TargetGroup, case: &Case<'_>, record: &Departure) -> Option<BTreeSet<u16>> {
    let me = case.snapshot.instance.as_str();
    let now = group.targets.of(me).iter().map(|target| target.port);
    let then = record
        .withdrawn_from(&group.arn)
        .into_iter()
        .flat_map(|withdrawn| withdrawn.targets.iter().map(|target| target.port));
    let ports: BTreeSet<u16> = now.chain(then).collect();
    (!ports.is_empty()).then_some(ports)
}
