//! One pod that is still there: what holds it, what makes that so, and what a person can do about it.

use crate::id::PodKey;
use crate::judge::{Bench, grace_before, must_end_from};
use crate::snapshot::cluster::{Budget, NodeView, Pod, Sibling};
use crate::snapshot::{Attempts, Snapshot};
use crate::time::{Timestamp, human};
use crate::verdict::{Held, Judged, Verdict};
use std::fmt;
use std::time::Duration;

/// A pod that is still there, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remaining {
    /// The pod.
    pub pod: PodKey,
    /// `ReplicaSet shop/checkout-7c9d`, as far as the controller tells.
    pub owner: String,
    /// What was decided, in words.
    pub verdict: String,
    /// The budget that holds it, its rule and its numbers.
    pub budget: Option<String>,
    /// The pod that makes the budget zero, and why that one is not Ready.
    pub because: Option<String>,
    /// Evictions so far.
    pub tried: Option<Attempts>,
    /// When it is looked at again, if it is held.
    pub next: Option<Timestamp>,
    /// What a person can do about what holds it.
    pub advice: Option<Advice>,
    /// What holds it, in kind.
    pub hold: Hold,
    /// How it is deleted before the hard deadline, budgets or not, if it is still there.
    pub forced: Option<Ending>,
    /// When what holds it ends by itself: the implicit budget does.
    pub lets_go_at: Option<Timestamp>,
    /// The budget that allows none: when it opens, this pod may go.
    pub closed: Option<PodKey>,
}

impl Remaining {
    /// Whether it is given less than the grace that it asks for.
    pub fn is_cut_short(&self) -> bool {
        self.forced.is_some_and(|forced| forced.grace < forced.asked)
    }
}

/// A pod's deletion before a hard deadline: pods of one owner have one grace, but not all the same part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// When.
    pub at: Timestamp,
    /// What it is given.
    pub grace: Duration,
    /// What it asks for.
    pub asked: Duration,
}

impl fmt::Display for Ending {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "deleted at {} with ", self.at)?;
        if self.grace < self.asked {
            let (grace, asked) = (human(self.grace), human(self.asked));
            write!(out, "{grace} of the {asked} of grace that it asks for")
        } else {
            write!(out, "its grace of {}", human(self.asked))
        }
    }
}

/// What kind of thing holds a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hold {
    /// Nothing: it is removed in this turn.
    None,
    /// Time alone: it only has to end.
    Ending,
    /// Time alone: requests, the order of pods, a read that failed.
    Waiting,
    /// Somebody's decision or a lack: time alone may not help.
    Blocked,
}

/// Something that a person can do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Advice {
    /// In two or three words.
    pub label: &'static str,
    /// How; where it can be typed, as it is typed.
    pub text: String,
}

impl Advice {
    fn new(label: &'static str, text: String) -> Self {
        Self { label, text }
    }
}

/// What is to be said of a pod that is waited for.
pub(super) fn remaining(judged: &Judged<'_>, snapshot: &Snapshot, bench: &Bench<'_>) -> Remaining {
    let (pod, view) = (judged.pod, bench.view);
    let owner = pod.owner.as_ref().map_or("no controller".to_owned(), |owner| {
        format!("{} {}/{}", owner.kind, pod.key.namespace, owner.name)
    });
    let (held, next) = match &judged.verdict {
        Verdict::Hold(until, held) => (Some(held), Some(*until)),
        Verdict::Leave(_)
        | Verdict::Evict
        | Verdict::StepAside
        | Verdict::Force(..)
        | Verdict::Gone => (None, None),
    };
    let hold = held.map_or(Hold::None, kind);
    let culprit = (hold == Hold::Blocked).then(|| culprit(judged, view)).flatten();
    Remaining {
        pod: pod.key.clone(),
        owner,
        verdict: judged.verdict.to_string(),
        budget: held.and_then(|held| budget(held, view)),
        because: culprit.map(|sibling| trouble(sibling, snapshot.now)),
        tried: snapshot.memory.evictions.get(&pod.uid).cloned(),
        next,
        advice: held.and_then(|held| advice(held, pod, culprit)),
        hold,
        forced: (hold != Hold::Ending).then(|| ending(pod, bench)).flatten(),
        lets_go_at: matches!(held, Some(Held::ImplicitBudget(_) | Held::NoRoom(_)))
            .then(|| bench.begun + bench.policy.implicit_hold),
        closed: held.and_then(|held| closed(held, view)),
    }
}

fn ending(pod: &Pod, bench: &Bench<'_>) -> Option<Ending> {
    let hard = bench.hard?;
    let at = must_end_from(pod, bench, hard).max(bench.now);
    Some(Ending { at, grace: grace_before(pod, at, hard), asked: pod.grace })
}

fn kind(held: &Held) -> Hold {
    match held {
        Held::Terminating => Hold::Ending,
        Held::Serving | Held::StillRegistered | Held::AfterOthers | Held::Unread(_) => {
            Hold::Waiting
        }
        Held::Protected(_)
        | Held::ImplicitBudget(_)
        | Held::Budget(_)
        | Held::TwoBudgets(_)
        | Held::NoRoom(_)
        | Held::Refused(_) => Hold::Blocked,
    }
}

fn budget(held: &Held, view: &NodeView) -> Option<String> {
    let Budget { key, rule, healthy, allowed, .. } = guard(held, view)?;
    Some(format!("PDB {key}: {rule}, healthy {healthy}, allowed {allowed}"))
}

/// Not one whose disruptions this turn's own evictions use up: they are counted before long.
fn closed(held: &Held, view: &NodeView) -> Option<PodKey> {
    guard(held, view).filter(|budget| budget.allowed < 1).map(|budget| budget.key.clone())
}

fn guard<'a>(held: &Held, view: &'a NodeView) -> Option<&'a Budget> {
    let Held::Budget(key) = held else { return None };
    view.budgets.iter().flatten().find(|budget| budget.key == *key)
}

/// The sibling that is not Ready; one without room first, since that is what a person can mend.
fn culprit<'a>(judged: &Judged<'_>, view: &'a NodeView) -> Option<&'a Sibling> {
    let owner = &judged.pod.owner.as_ref()?.uid;
    let siblings = view.siblings.as_deref().unwrap_or_default();
    let sick = siblings
        .iter()
        .filter(|sibling| sibling.owner == *owner && !sibling.ready && !sibling.leaving);
    sick.min_by_key(|sibling| (!sibling.unschedulable, &sibling.key))
}

fn trouble(sibling: &Sibling, now: Timestamp) -> String {
    let age =
        sibling.created_at.map_or(String::new(), |at| format!(" for {}", human(now.since(at))));
    let why = sibling.trouble.as_deref().unwrap_or("no reason given");
    let state = if sibling.unschedulable { "is Pending" } else { "is not Ready" };
    format!("{} {state}{age}: {why}", sibling.key.name)
}

fn advice(held: &Held, pod: &Pod, culprit: Option<&Sibling>) -> Option<Advice> {
    let PodKey { namespace, name } = &pod.key;
    match (held, culprit) {
        (Held::Budget(_) | Held::NoRoom(_) | Held::ImplicitBudget(_), Some(sick)) => {
            let label = if sick.unschedulable { "make room" } else { "mend" };
            let text = format!("{}: it goes on when that pod is Ready", sick.key);
            Some(Advice::new(label, text))
        }
        (Held::Budget(budget), None) => {
            let text = format!(
                "PDB {budget} allows none with all its pods Ready: add a replica, or allow one"
            );
            Some(Advice::new("loosen", text))
        }
        (Held::TwoBudgets(budgets), _) => {
            let last = budgets.last()?;
            let text = format!(
                "change a selector, or kubectl delete pdb -n {} {}",
                last.namespace, last.name
            );
            Some(Advice::new("keep one PDB", text))
        }
        (Held::Protected(annotation), _) => {
            let text = format!("kubectl annotate pod -n {namespace} {name} {annotation}-");
            Some(Advice::new("let it go", text))
        }
        (
            Held::Terminating
            | Held::Serving
            | Held::StillRegistered
            | Held::AfterOthers
            | Held::ImplicitBudget(_)
            | Held::NoRoom(_)
            | Held::Refused(_)
            | Held::Unread(_),
            _,
        ) => None,
    }
}
