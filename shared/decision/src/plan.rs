//! One plan for a whole batch: what several departures want of the same target group becomes one call.
//!
//! The waves run in this order, each after the one before: node patches and heartbeats, targets, pods, Events, answers.
//! Nothing here chooses; it only groups.

use crate::decision::{Decision, Next};
use crate::id::{ClusterName, InstanceId, PodKey, TargetGroupArn};
use crate::step::{
    Class, Deregister, HookCall, HookResult, NodePatch, Note, Outcome, Removal, Step, TargetChange,
};
use std::collections::{BTreeMap, BTreeSet};

/// Something to do, and for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct For<T> {
    /// For this instance.
    pub instance: InstanceId,
    /// What.
    pub what: T,
}

/// Several instances' targets in one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForMany<T> {
    /// For these instances.
    pub instances: Vec<InstanceId>,
    /// What.
    pub what: T,
}

/// An answer to one lifecycle action, however many messages speak of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedAnswer {
    /// For this instance.
    pub instance: InstanceId,
    /// The messages that are finished when it is accepted.
    pub messages: Vec<String>,
    /// Which action.
    pub call: HookCall,
    /// How.
    pub result: HookResult,
    /// Why.
    pub why: String,
}

/// How a pod is removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remove {
    /// By eviction.
    Evict {
        /// Which pod.
        pod: Removal,
        /// The PodDisruptionBudget whose count is lowered for it.
        budget: Option<PodKey>,
    },
    /// By deletion with a clamped grace.
    Delete {
        /// Which pod.
        pod: Removal,
        /// Seconds, at least 1.
        grace_seconds: u32,
    },
}

impl Remove {
    /// The budget whose count is lowered for it.
    pub fn budget(&self) -> Option<&PodKey> {
        match self {
            Self::Evict { budget, .. } => budget.as_ref(),
            Self::Delete { .. } => None,
        }
    }
}

/// Everything that a turn does, in waves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// First: cordons and records.
    pub patches: Vec<For<NodePatch>>,
    /// With them: heartbeats, one for each action.
    pub heartbeats: Vec<For<HookCall>>,
    /// Then: targets out, one call for each group.
    pub deregister: Vec<ForMany<Deregister>>,
    /// And back in.
    pub register: Vec<ForMany<TargetChange>>,
    /// Then: pods.
    pub removals: Vec<For<Remove>>,
    /// Then: Events.
    pub notes: Vec<For<Note>>,
    /// Last: answers.
    pub answers: Vec<PlannedAnswer>,
}

/// The calls about target groups, by group.
#[derive(Debug, Default)]
struct Calls {
    out: BTreeMap<TargetGroupArn, ForMany<Deregister>>,
    back: BTreeMap<TargetGroupArn, ForMany<TargetChange>>,
}

/// Joins the decisions of a batch.
pub fn join(decisions: &[Decision]) -> Plan {
    let (mut plan, mut calls) = (Plan::default(), Calls::default());
    for decision in decisions {
        for step in &decision.steps {
            sort_in(&mut plan, &mut calls, &decision.instance, step.clone());
        }
        for answer in &decision.answers {
            add_answer(&mut plan, decision, &answer.message, &answer.next);
        }
    }
    calls.out.values_mut().for_each(leave_one_in);
    plan.deregister =
        calls.out.into_values().filter(|it| !it.what.change.targets.is_empty()).collect();
    plan.register = calls.back.into_values().collect();
    plan
}

/// Each decision leaves a living target in, all together may not: who has no record to be counted by goes by its id alone, beside
/// somebody who has one. The living target with the greatest id stays, as it does among those without records.
fn leave_one_in(call: &mut ForMany<Deregister>) {
    let Deregister { change, health, .. } = &mut call.what;
    let leaves = |id: &String| change.targets.iter().any(|target| target.id == *id);
    let Some(last) = health.living().last().filter(|_| health.living().iter().all(leaves)) else {
        return;
    };
    change.targets.retain(|target| target.id != *last);
    call.instances.retain(|instance| instance.as_str() != last);
}

/// Removals in lanes: those of one lane go one after the other, the lanes beside each other. Evictions under one budget share
/// a lane: each writes the budget's status, and the API server lets who came second wait for half a second before it tries
/// again, twenty times: many at once are slower than one after the other. Lanes of one removal come first: others may be long.
/// `clusters`: where the instances' nodes are, since a budget of the same name in another cluster is another one.
pub fn lanes(
    removals: Vec<For<Remove>>,
    clusters: &BTreeMap<InstanceId, ClusterName>,
) -> Vec<Vec<For<Remove>>> {
    let (mut alone, mut shared) = (Vec::new(), BTreeMap::<_, Vec<For<Remove>>>::new());
    for removal in removals {
        match removal.what.budget() {
            Some(budget) => {
                let lane = (clusters.get(&removal.instance), budget.clone());
                shared.entry(lane).or_default().push(removal);
            }
            None => alone.push(vec![removal]),
        }
    }
    alone.into_iter().chain(shared.into_values()).collect()
}

/// Whether what became of one eviction says that the next ones under the same budget would fare alike: it is exhausted, or
/// the server can't keep up. Anything else is about the one pod.
pub fn ends_lane(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Done | Outcome::Skipped(_) => false,
        Outcome::Failed { class, .. } => {
            matches!(class, Class::Blocked | Class::Throttled(_) | Class::Again)
        }
    }
}

fn sort_in(plan: &mut Plan, calls: &mut Calls, instance: &InstanceId, step: Step) {
    let instance = instance.clone();
    match step {
        Step::PatchNode(what) => plan.patches.push(For { instance, what }),
        Step::Heartbeat(what) => {
            if !plan.heartbeats.iter().any(|other| other.what == what) {
                plan.heartbeats.push(For { instance, what });
            }
        }
        Step::Evict { pod, budget } => {
            plan.removals.push(For { instance, what: Remove::Evict { pod, budget } });
        }
        Step::Delete { pod, grace_seconds } => {
            plan.removals.push(For { instance, what: Remove::Delete { pod, grace_seconds } });
        }
        Step::Note(what) => plan.notes.push(For { instance, what }),
        Step::Deregister(what) => match calls.out.get_mut(&what.change.group) {
            Some(joined) => {
                joined.instances.push(instance);
                let known = joined.what.change.targets.iter().cloned().collect::<BTreeSet<_>>();
                let new = what.change.targets.into_iter().filter(|it| !known.contains(it));
                joined.what.change.targets.extend(new);
                if what.fresh_until > joined.what.fresh_until {
                    joined.what.health = what.health;
                }
                joined.what.fresh_until = joined.what.fresh_until.min(what.fresh_until);
            }
            None => {
                calls
                    .out
                    .insert(what.change.group.clone(), ForMany { instances: vec![instance], what });
            }
        },
        Step::Register(what) => match calls.back.get_mut(&what.group) {
            Some(joined) => {
                joined.instances.push(instance);
                joined.what.targets.extend(what.targets);
            }
            None => {
                calls.back.insert(what.group.clone(), ForMany { instances: vec![instance], what });
            }
        },
    }
}

fn add_answer(plan: &mut Plan, decision: &Decision, message: &str, next: &Next) {
    let (call, result, why) = match next {
        Next::Answer { call, result, why } => (call, *result, why),
        Next::Reject { answer: Some(call), why } => (call, HookResult::Continue, why),
        Next::Reject { answer: None, .. } | Next::ComeBack { .. } | Next::Finished(_) => return,
    };
    if let Some(same) = plan.answers.iter_mut().find(|other| other.call == *call) {
        same.messages.push(message.to_owned());
        return;
    }
    plan.answers.push(PlannedAnswer {
        instance: decision.instance.clone(),
        messages: vec![message.to_owned()],
        call: call.clone(),
        result,
        why: why.clone(),
    });
}
