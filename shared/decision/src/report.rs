//! What a turn says of itself: what was done, what is held and why, what happens if nobody acts, what a person can do.
//!
//! The same report is the log's fields, the node's Event and the text below. It is written for somebody who was woken.

mod remaining;
mod text;

pub use remaining::{Advice, Ending, Hold, Remaining};

use crate::admit::{Admitted, Asks};
use crate::annotation::Departure;
use crate::id::{AsgName, HookName, InstanceId, NodeName, PodKey};
use crate::judge::Bench;
use crate::limits::HEARTBEAT_SUPPORTED_MIN;
use crate::matching::serves;
use crate::signal::{Cause, HookSignal, SpotAction};
use crate::snapshot::aws::{Hook, TargetGroup};
use crate::snapshot::cluster::NodeView;
use crate::snapshot::{HookState, Memory, Snapshot};
use crate::time::Timestamp;
use crate::verdict::{Judged, Stays, Verdict};
use crate::withdraw::{May, Standing, Wait};
use std::collections::BTreeSet;
use std::fmt;

/// Where a departure or an arrival stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing decided yet.
    Looking,
    /// Asks AWS whether the lifecycle action still waits, before the first write.
    Proving,
    /// In scope, no node yet; until then.
    Registering(Timestamp),
    /// The node is cordoned.
    Cordoning,
    /// Targets leave their groups.
    Withdrawing,
    /// Pods leave.
    Draining,
    /// Volumes detach.
    Detaching,
    /// Empty; the load balancers still need the node; until then.
    Settling(Timestamp),
    /// Done.
    Drained,
    /// The deadline came first.
    Overdue,
    /// The instance is gone, or there was no node to drain.
    Ended,
    /// Cordoned, and no more is asked for.
    Cordoned,
    /// Only recommended; until then.
    Recommended(Timestamp),
    /// Nothing followed a recommendation in time.
    Lapsed,
    /// Announced: it is acted on from then.
    Announced(Timestamp),
    /// The API server is away.
    Unreachable {
        /// Which cluster.
        cluster: String,
        /// What went wrong.
        why: String,
    },
    /// Arrival: what is missing.
    Arriving(String),
    /// Arrival: ready.
    Arrived,
    /// None of its signals is ours or true.
    NotOurs,
}

/// What of the cluster is worth watching until the next look.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Watch {
    /// The pods of this node.
    Pods(NodeName),
    /// This PodDisruptionBudget.
    Budget(PodKey),
}

/// The report of one turn about one instance.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Which instance.
    pub instance: InstanceId,
    /// Its node, once found.
    pub node: Option<NodeName>,
    /// The Auto Scaling groups and hooks that hold it.
    pub hooks: Vec<(AsgName, HookName)>,
    /// What interrupts it, in words.
    pub causes: Vec<String>,
    /// When AWS last took a heartbeat from this process.
    pub beat_at: Option<Timestamp>,
    /// Where it stands.
    pub stage: Stage,
    /// When the departure or arrival began.
    pub since: Option<Timestamp>,
    /// The earliest hard deadline.
    pub hard: Option<Timestamp>,
    /// What interrupts it then, in words; `None`: a hook's global timeout.
    pub hard_by: Option<String>,
    /// The earliest hard deadline of the hooks that wait for an answer.
    pub answer_by: Option<Timestamp>,
    /// The soft deadline.
    pub soft: Option<Timestamp>,
    /// Where it stands with its target groups, one line each.
    pub registrations: Vec<String>,
    /// Pods that are waited for.
    pub remaining: Vec<Remaining>,
    /// Pods that stay and are not waited for: how many.
    pub staying: usize,
    /// What somebody should mend, whatever comes of this departure.
    pub warnings: Vec<String>,
    /// Mode `observe`: what would have been done.
    pub would: Vec<String>,
    /// Whether it is time to say that the drain is blocked.
    pub tell_blocked: bool,
}

impl Report {
    pub(crate) fn new(instance: InstanceId, stage: Stage) -> Self {
        Self {
            instance,
            node: None,
            hooks: Vec::new(),
            causes: Vec::new(),
            beat_at: None,
            stage,
            since: None,
            hard: None,
            hard_by: None,
            soft: None,
            answer_by: None,
            registrations: Vec::new(),
            remaining: Vec::new(),
            staying: 0,
            warnings: Vec::new(),
            would: Vec::new(),
            tell_blocked: false,
        }
    }

    pub(crate) fn begin(&mut self, since: Timestamp, hard: Option<Timestamp>) {
        self.since = Some(since);
        self.hard = hard;
    }

    /// What the signals say: which hooks wait, and what is wrong with them.
    pub(crate) fn signals(&mut self, signals: &[Admitted<'_>], memory: &Memory) {
        for signal in signals {
            match signal.asks {
                Asks::Hook { signal, facts } => self.hook(signal, facts, memory),
                Asks::Interruption { interruption, .. } => {
                    self.cause(&interruption.cause);
                    if self.hard.is_some() && signal.hard() == self.hard {
                        self.hard_by = Some(interruption.cause.to_string());
                    }
                }
            }
            let mistakes = signal.mistakes.iter();
            self.warnings.extend(
                mistakes.map(|mistake| format!("NotificationMetadata, {mistake}; not applied")),
            );
        }
    }

    /// What the record knows besides: a deadline that another signal brought may be earlier.
    pub(crate) fn record(&mut self, record: &Departure) {
        let known = record.because.iter().filter_map(|by| Some((by.hard?, &by.by))).min();
        if let Some((hard, by)) = known
            && self.hard.is_none_or(|own| hard < own)
        {
            self.hard = Some(hard);
            self.hard_by = Some(format!("{by}, on record"));
        }
    }

    fn hook(&mut self, signal: &HookSignal, facts: Option<&Hook>, memory: &Memory) {
        let hook = (signal.asg.clone(), signal.hook.clone());
        if !self.hooks.contains(&hook) {
            self.hooks.push(hook);
        }
        if let Some(HookState::Active(at)) = memory.hooks.get(&signal.token.fingerprint()) {
            self.beat_at = self.beat_at.max(Some(*at));
        }
        self.heartbeat(facts);
    }

    fn cause(&mut self, cause: &Cause) {
        let text = cause.to_string();
        if !self.causes.contains(&text) {
            self.causes.push(text);
        }
        if let Cause::Spot(SpotAction::Unknown(action)) = cause {
            let text = format!("instance-action `{action}` is not known; taken for terminate");
            self.warnings.push(text);
        }
    }

    fn heartbeat(&mut self, hook: Option<&Hook>) {
        let Some(hook) = hook.filter(|hook| hook.heartbeat < HEARTBEAT_SUPPORTED_MIN) else {
            return;
        };
        self.warnings.push(format!(
            "hook {}: HeartbeatTimeout {} s is shorter than the supported {} s; one crash can cost it",
            hook.name,
            hook.heartbeat.as_secs(),
            HEARTBEAT_SUPPORTED_MIN.as_secs()
        ));
    }

    pub(crate) fn unread(&mut self, why: &str) {
        self.warnings.push(format!("not known in this turn: {why}"));
    }

    pub(crate) fn registration(&mut self, group: &TargetGroup, standing: &Standing) {
        let name = group.arn.as_str().split('/').nth(1).unwrap_or(group.arn.as_str());
        self.registrations.push(format!("{name}: {standing}"));
    }

    pub(crate) fn volumes(&mut self, volumes: &[String]) {
        let which = if volumes.is_empty() { "not known".to_owned() } else { volumes.join(", ") };
        self.registrations.push(format!("volumes still attached: {which}"));
    }

    pub(crate) fn volumes_left(&mut self, volumes: &[String]) {
        if !volumes.is_empty() {
            self.warnings.push(format!(
                "volumes not waited for, since pods that stay may hold them: {}",
                volumes.join(", ")
            ));
        }
    }

    pub(crate) fn pods(&mut self, judged: &[Judged<'_>], snapshot: &Snapshot, bench: &Bench<'_>) {
        self.soft = Some(bench.soft);
        for judged in judged {
            if judged.verdict == Verdict::Leave(Stays::Stuck) {
                self.warnings.push(format!("{}: {}", judged.pod.key, Stays::Stuck));
            }
            if !judged.is_waited_for() {
                self.staying += 1;
                continue;
            }
            self.remaining.push(remaining::remaining(judged, snapshot, bench));
            self.warn_about(judged, bench.view);
        }
    }

    fn warn_about(&mut self, judged: &Judged<'_>, view: &NodeView) {
        let pod = judged.pod;
        if judged.verdict != Verdict::Evict {
            return;
        }
        if pod.owner.is_none() {
            self.warnings.push(format!("{}: no controller, nothing will replace it", pod.key));
        }
        let services = view.services.as_deref().unwrap_or_default();
        let serves = services.iter().any(|service| serves(service, pod));
        if serves && !pod.pre_stop {
            self.warnings.push(format!(
                "{}: no preStop hook; requests still come for about 2 s after SIGTERM, so unless it serves on, \
                 add preStop: sleep 5",
                pod.key
            ));
        }
        if pod.empty_dir {
            self.warnings.push(format!("{}: its emptyDir ends with it", pod.key));
        }
    }

    /// Names of the pods that are left, for the hook's answer.
    pub fn left(&self) -> String {
        match self.remaining.as_slice() {
            [] => "no pods".to_owned(),
            pods => pods.iter().map(|left| left.pod.to_string()).collect::<Vec<_>>().join(", "),
        }
    }

    /// What is worth watching while it drains: the node's pods if all that is left only has to end; otherwise the
    /// budgets that allow none.
    pub fn watches(&self) -> BTreeSet<Watch> {
        if self.stage != Stage::Draining {
            return BTreeSet::new();
        }
        if self.remaining.iter().all(|pod| pod.hold == Hold::Ending) {
            return self.node.iter().cloned().map(Watch::Pods).collect();
        }
        self.remaining.iter().filter_map(|pod| pod.closed.clone()).map(Watch::Budget).collect()
    }

    /// Whether anything but time holds it.
    pub fn is_blocked(&self) -> bool {
        self.remaining.iter().any(|pod| pod.hold == Hold::Blocked)
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clear => write!(out, "out"),
            Self::Leaving { settled, drained } => {
                write!(out, "out, new requests until {settled}, connections until {drained}")
            }
            Self::Registered { may: May::Now, .. } => write!(out, "being taken out"),
            Self::Registered { may: May::LastLiving, .. } => {
                write!(out, "stays in: the last living target, and nothing replaced it in time")
            }
            Self::Registered { may: May::Later { at, why }, .. } => {
                write!(out, "still in, {why}, until {at} at the longest")
            }
        }
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OrderSettles => write!(out, "its place in the order settles"),
            Self::Floor { living, keep } => {
                write!(out, "{living} targets live and {keep} must stay")
            }
            Self::Unlisted => write!(out, "the other departing nodes are not known"),
            Self::Recommended => write!(out, "nothing but a recommendation asks for it"),
        }
    }
}
