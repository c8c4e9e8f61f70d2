//! Out of the load balancers, with a floor: whose targets may leave a group now.
//!
//! Processes do not see each other, so all compute the same from what is written down: the departing nodes
//! (unschedulable, with our record), in the order of (hard deadline, instance id). Of a group's living targets
//! a share stays in; of the departing ones only the first that the floor allows may go. A withdrawal is written down
//! before the call, and looked at again before it is made.
//!
//! ```text
//!   living ─── keep (floor) ──> free places ──> those who wrote it down ──> the first in the order
//! ```
//!
//! Two processes that list at the same moment agree unless a node joined the order in between; hence a node waits
//! `ORDER_SETTLES` after its place changed. What that can't cover is a process that stops for seconds between its
//! look and its call; the executor skips a call whose health is older than `HEALTH_FRESH`.

pub mod tally;

use crate::annotation::Departure;
use crate::id::{InstanceId, TargetGroupArn};
use crate::limits::{HEALTH_FRESH, ORDER_SETTLES, STAYERS_FRESH, STORM_NODES, WITHDRAW_MARGIN};
use crate::policy::Policy;
use crate::snapshot::aws::{RegistrationOwner, TargetGroup, TargetState};
use crate::snapshot::departing::Departures;
use crate::step::TargetId;
use crate::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};
use std::time::Duration;
use tally::{Place, Queue, is_before, is_gone};

/// Where an instance stands with one target group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing of it is there, and nothing was taken out lately.
    Clear,
    /// Out, but requests may still come until `settled` and connections may last until `drained`.
    Leaving {
        /// From then on no new request comes through it.
        settled: Timestamp,
        /// From then on no connection is left: settled, and the deregistration delay is over.
        drained: Timestamp,
    },
    /// Still in.
    Registered {
        /// Exactly what is registered.
        targets: Vec<TargetId>,
        /// Whether it may leave.
        may: May,
    },
}

/// Whether a target may leave its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum May {
    /// Yes.
    Now,
    /// Not yet.
    Later {
        /// Until then at the longest.
        at: Timestamp,
        /// Why.
        why: Wait,
    },
    /// It is the last living target, and nothing came to replace it in time: it stays until the instance ends.
    LastLiving,
}

/// Why a target stays in for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Its place in the order is too new.
    OrderSettles,
    /// The floor: others must turn healthy first.
    Floor {
        /// Living targets now.
        living: usize,
        /// How many must stay.
        keep: usize,
    },
    /// The departing nodes could not be listed.
    Unlisted,
    /// Only a recommendation asks for it.
    Recommended,
}

/// Of the targets that may turn healthy next in a group without a healthy one, so many stay. None: a group is left to those
/// that fail although one was about to answer. Two: neither of two new nodes could leave.
const RISING_KEPT: usize = 1;

/// What the order is computed from.
#[derive(Clone, Debug)]
pub struct Order<'a> {
    /// The present.
    pub now: Timestamp,
    /// This instance.
    pub me: &'a InstanceId,
    /// When the signals were sent: what the ASG took out by itself left before that.
    pub since: Timestamp,
    /// When our record was begun. The wait for the floor counts from here: after an outage of ours, or in a storm,
    /// signals are old, and their age says nothing about how long replacements had.
    pub begun: Timestamp,
    /// Its earliest hard deadline.
    pub hard: Option<Timestamp>,
    /// Who else leaves.
    pub records: Records<'a>,
    /// A lifecycle hook holds the instance: its ASG has drained its own groups before.
    pub after_hook: bool,
    /// By group, how much earlier than the settle time alone asks for the target must leave: the pods that serve what
    /// arrives here need time to end.
    pub reserves: BTreeMap<TargetGroupArn, Duration>,
}

/// The records of the departing nodes, as far as they are known.
#[derive(Clone, Copy, Debug)]
pub enum Records<'a> {
    /// All of them.
    Known(Known<'a>),
    /// Only our own is: they were not listed, and nobody leaves on a guess.
    Unread(&'a Departure),
    /// There is no node to carry one.
    NoNode,
    /// There is no API server to ask.
    Unreachable,
}

/// All records by instance: as they were listed, and our own as it was just read.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    listed: &'a Departures,
    own: &'a Departure,
}

impl<'a> Known<'a> {
    /// The list may be a moment older than our own record, and lack it.
    pub const fn new(listed: &'a Departures, own: &'a Departure) -> Self {
        Self { listed, own }
    }

    fn own(&self) -> &'a Departure {
        self.own
    }

    /// Our own record as it was listed.
    fn own_listed(&self) -> Option<&'a Departure> {
        self.listed.get(&self.own.instance).map(|record| &**record)
    }

    /// Those of the other departing nodes, by instance.
    pub(crate) fn others(&self) -> impl Iterator<Item = (&'a InstanceId, &'a Departure)> + use<'a> {
        // Two ranges: a thousand comparisons with our own id are more than all else that is done here.
        let me = &self.own.instance;
        let others = self.listed.range(..me).chain(self.listed.range((Excluded(me), Unbounded)));
        others.map(|(id, record)| (id, &**record))
    }

    /// How many nodes depart.
    pub(crate) fn len(&self) -> usize {
        self.listed.len() + usize::from(self.own_listed().is_none())
    }
}

/// Where this instance stands with `group`.
pub fn standing(group: &TargetGroup, order: &Order<'_>, policy: &Policy) -> Standing {
    let mine = group.targets.of(order.me.as_str()).iter();
    let targets: Vec<TargetId> =
        mine.filter(|target| target.state.is_registered()).map(id_of).collect();
    if !targets.is_empty() {
        return Standing::Registered { targets, may: may(group, order, policy) };
    }
    left(group, order, policy)
}

fn id_of(target: &crate::snapshot::aws::Target) -> TargetId {
    TargetId { id: target.id.clone(), port: target.port, zone: target.zone.clone() }
}

/// When what left is settled and drained. Our record says when it left; of what the ASG took out we know only that
/// it happened before the hook's event, and that the ASG waited for the delay.
fn left(group: &TargetGroup, order: &Order<'_>, policy: &Policy) -> Standing {
    let settle = policy.settle(group.balancer);
    let mine = group.targets.of(order.me.as_str());
    let draining = mine.iter().any(|target| target.state == TargetState::Draining);
    let own = match order.records {
        Records::Known(records) => Some(records.own()),
        Records::Unread(own) => Some(own),
        Records::NoNode | Records::Unreachable => None,
    };
    let recorded =
        own.and_then(|record| record.withdrawn_from(&group.arn)).map(|withdrawn| withdrawn.at);
    let left_at = match (recorded, group.owner) {
        (Some(at), _) => at,
        (None, RegistrationOwner::Asg) if !draining && order.after_hook => {
            order.since - group.deregistration_delay
        }
        (None, _) if draining => order.since,
        (None, _) => return Standing::Clear,
    };
    let settled = left_at + settle;
    let drained = if draining { left_at + group.deregistration_delay } else { left_at };
    if settled <= order.now && !draining {
        return Standing::Clear;
    }
    Standing::Leaving { settled, drained: drained.max(settled) }
}

fn may(group: &TargetGroup, order: &Order<'_>, policy: &Policy) -> May {
    let living = group.targets.living();
    if !living.contains(order.me.as_str()) {
        return May::Now;
    }
    let latest = latest(group, order, policy);
    let records = match order.records {
        Records::Known(records) => records,
        Records::Unread(_) => return unlisted(order),
        Records::NoNode => return blind(group, order, Some(latest)),
        // An outage may last: nobody leaves blindly for a policy's patience, only before AWS itself acts.
        Records::Unreachable => return blind(group, order, last_moment(group, order, policy)),
    };
    let mine = records.own();
    let ordered_at = mine.ranked_at + ORDER_SETTLES;
    if ordered_at > order.now {
        return May::Later { at: ordered_at, why: Wait::OrderSettles };
    }
    let keep = keep(group, (order, records), policy);
    let tally = records.listed.tally(group);
    let own = Place::of(order.me, mine, group);
    let listed = records.own_listed().map(|listed| Place::of(order.me, listed, group));
    let is_counted = listed.is_some_and(|listed| is_before(&listed, &own, order.now));
    let fits = |counted: &BTreeSet<String>, queue: &Queue, keep: usize| {
        let before_me = queue.before(&own, order.now).saturating_sub(usize::from(is_counted));
        before_me < counted.len().saturating_sub(keep)
    };
    let rising = group.targets.rising();
    let rises = rising.contains(order.me.as_str());
    if fits(living, &tally.living, keep) && (!rises || fits(rising, &tally.rising, RISING_KEPT)) {
        return May::Now;
    }
    if order.now >= latest {
        return May::LastLiving;
    }
    May::Later { at: latest, why: Wait::Floor { living: living.len(), keep } }
}

/// How many living targets must stay: the floor's share, and at the last moment one.
fn keep(group: &TargetGroup, (order, records): (&Order<'_>, Known<'_>), policy: &Policy) -> usize {
    if order.now >= latest(group, order, policy) { 1 } else { floor(group, records, policy) }
}

/// Whether this instance and all who wrote down that they leave may go at once. Who writes it down later sees them all.
/// Should too many have written at once, each must look again before its own call.
pub(crate) fn all_fit(group: &TargetGroup, order: &Order<'_>, policy: &Policy) -> bool {
    let Records::Known(records) = order.records else { return false };
    let tally = records.listed.tally(group);
    let claimed = records.own_listed().is_some_and(|own| own.withdrawn_from(&group.arn).is_some());
    let fit = |counted: &BTreeSet<String>, queue: &Queue, keep: usize| {
        let own = counted.contains(order.me.as_str());
        let leaving =
            (queue.claimed() + usize::from(own)).saturating_sub(usize::from(own && claimed));
        leaving + keep <= counted.len()
    };
    let (living, rising) = (group.targets.living(), group.targets.rising());
    fit(living, &tally.living, keep(group, (order, records), policy))
        && (rising.is_empty() || fit(rising, &tally.rising, RISING_KEPT))
}

/// How long the health is good enough for a call: in a storm longer, where enough targets stay of which nobody departs. Not
/// in a group of an ASG, which takes targets out before we hear of it.
pub(crate) fn fresh_for(group: &TargetGroup, order: &Order<'_>, policy: &Policy) -> Duration {
    let Records::Known(records) = order.records else { return HEALTH_FRESH };
    let living = group.targets.living();
    if records.len() < STORM_NODES || group.owner == RegistrationOwner::Asg {
        return HEALTH_FRESH;
    }
    let joined = living.contains(order.me.as_str()) && records.own_listed().is_none();
    let depart = records.listed.tally(group).living.len() + usize::from(joined);
    let stay = living.len().saturating_sub(depart);
    if stay >= floor(group, records, policy) { STAYERS_FRESH } else { HEALTH_FRESH }
}

/// The list may work the next time; a list that never does ends with the hard deadline.
fn unlisted(order: &Order<'_>) -> May {
    May::Later { at: order.now + ORDER_SETTLES, why: Wait::Unlisted }
}

/// Without a node to carry a record, or an API server to ask, nobody leaves before the last moment, and
/// the living target with the greatest id stays, as does the last that may turn healthy: all who are blind agree on those.
fn blind(group: &TargetGroup, order: &Order<'_>, latest: Option<Timestamp>) -> May {
    let stays = [group.targets.living(), group.targets.rising()]
        .iter()
        .any(|counted| counted.last().map(String::as_str) == Some(order.me.as_str()));
    match latest {
        None => unlisted(order),
        Some(latest) if order.now < latest => May::Later { at: latest, why: Wait::Unlisted },
        Some(_) if stays => May::LastLiving,
        Some(_) => May::Now,
    }
}

/// Whether the group counts on this instance alone. Even a ghost then stays: an empty group refuses every request at once,
/// and the health checks end a ghost's part anyway.
pub fn is_last_living(group: &TargetGroup, instance: &InstanceId) -> bool {
    let alone = |counted: &BTreeSet<String>| counted.iter().eq([instance.as_str()]);
    alone(group.targets.living()) || alone(group.targets.rising())
}

/// How many living targets must stay: the share of those that are in or were in before the departing ones left. A record
/// counts for as long as its node is there.
fn floor(group: &TargetGroup, records: Known<'_>, policy: &Policy) -> usize {
    let is_gone = |record: &Departure| is_gone(group, record);
    let gone = records.listed.tally(group).gone + usize::from(is_gone(records.own()));
    let counted_twice = usize::from(records.own_listed().is_some_and(is_gone));
    let base = group.targets.living().len() + gone.saturating_sub(counted_twice);
    (base * usize::from(policy.floor_percent)).div_ceil(100).max(1)
}

/// When nobody is waited for any more: at the last moment, or when the policy's patience with replacements ends.
fn latest(group: &TargetGroup, order: &Order<'_>, policy: &Policy) -> Timestamp {
    let patience = order.begun + policy.withdraw_hold;
    last_moment(group, order, policy).map_or(patience, |last| patience.min(last))
}

/// The last moment for a withdrawal: the settle time must fit before the hard deadline, and what the pods need that
/// serve what arrives here.
fn last_moment(group: &TargetGroup, order: &Order<'_>, policy: &Policy) -> Option<Timestamp> {
    let reserve = order.reserves.get(&group.arn).copied().unwrap_or_default();
    order.hard.map(|hard| hard - policy.settle(group.balancer) - WITHDRAW_MARGIN - reserve)
}
