//! One instance's way into service: the node must be there and mean it, then the launch hook is answered.
//!
//! Ready is a condition that is present and true, not the absence of bad ones. An instance that was here before (warm
//! pool, root volume) carries our record: what it says is put back, exactly, before the answer.

mod back;

use crate::admit::{Admitted, Asks};
use crate::annotation::{Contributor, DEPARTURE, Departure, EXCLUDE, OUT_OF_SERVICE, TAINT};
use crate::decision::{Course, End};
use crate::departure::record::patch;
use crate::departure::{Case, is_going, is_last_moment};
use crate::policy::LaunchDeadline;
use crate::report::{Report, Stage};
use crate::signal::{Cause, HookRoute};
use crate::snapshot::aws::{InstanceState, RegistrationOwner, TargetGroup};
use crate::snapshot::cluster::{ClusterView, Node, NodeLookup, NodeView};
use crate::step::{HookResult, NodePatch, PatchPurpose, Step, TargetChange};
use std::collections::BTreeSet;
use std::fmt;

/// Taints that go by themselves once a node can serve.
const STARTUP_TAINTS: [&str; 8] = [
    "node.kubernetes.io/not-ready",
    "node.kubernetes.io/unreachable",
    "node.kubernetes.io/network-unavailable",
    "node.cloudprovider.kubernetes.io/uninitialized",
    "node.cloudprovider.kubernetes.io/shutdown",
    "ebs.csi.aws.com/agent-not-ready",
    "efs.csi.aws.com/agent-not-ready",
    "node.cilium.io/agent-not-ready",
];

/// Decides the arrival's next step.
pub(crate) fn decide(case: &Case<'_>) -> Course {
    let mut report = Report::new(case.snapshot.instance.clone(), Stage::Arriving(String::new()));
    report.begin(case.since, case.hard);
    report.signals(case.signals, &case.snapshot.memory);
    let into_pool = |signal: &Admitted<'_>| {
        signal.hook().is_some_and(|hook| hook.route == HookRoute::WarmPoolIn)
    };
    if case.signals.iter().all(into_pool) {
        report.stage = Stage::Arrived;
        let why = "into the warm pool: it is stopped next, so nothing is waited for".to_owned();
        return case.done(Vec::new(), report, why);
    }
    match &case.snapshot.cluster {
        ClusterView::NotAsked if !case.is_held() => {
            continued(case, report, "the instance is not up: there is nothing to take back".into())
        }
        ClusterView::NotAsked => {
            waiting(case, report, &Lack::Unread("nothing could be asked yet".into()))
        }
        ClusterView::Unnamed => {
            continued(case, report, "no tag, hook or setting names a cluster".into())
        }
        ClusterView::Deleted(cluster) => {
            continued(case, report, format!("EKS knows no cluster {cluster}"))
        }
        ClusterView::Unreachable { cluster, why } => {
            report.stage = Stage::Unreachable { cluster: cluster.to_string(), why: why.clone() };
            if is_over(case) {
                // An API server that is away says nothing about the node: an outage must not abandon a fleet.
                return continued(
                    case,
                    report,
                    format!("cluster {cluster} unreachable to the end"),
                );
            }
            case.again(Vec::new(), report, case.look())
        }
        ClusterView::Reached { node: NodeLookup::Absent, .. } if !case.is_held() => {
            continued(case, report, "it has no node: there is nothing to take back".into())
        }
        ClusterView::Reached { node: NodeLookup::Absent, .. } => {
            waiting(case, report, &Lack::Seen("its node has not registered".into()))
        }
        ClusterView::Reached { node: NodeLookup::Found(view), .. } => on_node(case, view, report),
    }
}

fn on_node(case: &Case<'_>, view: &NodeView, mut report: Report) -> Course {
    report.node = Some(view.node.name.clone());
    if !case.is_held() && is_going(case.snapshot) {
        return continued(case, report, "the instance is going: nothing is taken back".into());
    }
    let record = record(case, &view.node);
    if let Some(course) = goes_again(case, record.as_ref(), &report) {
        return course;
    }
    if let Some(patch) = record.as_ref().and_then(|record| in_service(&view.node, record)) {
        report.stage = Stage::Arriving("the out-of-service taint is taken off".into());
        return case.again(vec![Step::PatchNode(patch)], report, case.now());
    }
    if !case.is_held()
        && let Some(course) = back::before(case, view, record.as_ref(), &report)
    {
        return course;
    }
    // Where nobody waits for an answer, a cordon of ours must not stay on for what may never come.
    let gives_up = !case.is_held() && is_over(case) && record.is_some();
    if let Some(missing) = missing(case, view, record.as_ref()).filter(|_| !gives_up) {
        return waiting(case, report, &missing);
    }
    let Some(record) = record else {
        return continued(case, report, "the node is ready".into());
    };
    if case.is_held() && is_doomed(case, &record) {
        let why = "the node is ready, and about to be interrupted: its cordon stays";
        return continued(case, report, why.into());
    }
    if !case.is_proven() {
        report.stage = Stage::Proving;
        return case.again(Vec::new(), report, case.now());
    }
    match &case.snapshot.aws.target_groups {
        Err(unread) if !record.withdrawn.is_empty() && !is_over(case) => {
            // Undo takes the record off, and with it all knowledge of what must be registered again.
            report.stage =
                Stage::Arriving(format!("its target groups could not be read: {}", unread.why));
            return case.again(Vec::new(), report, case.look());
        }
        Err(_) => {}
        Ok(groups) => {
            let registers = registers(groups, &record);
            if !registers.is_empty() && !is_over(case) {
                report.stage = Stage::Arriving("its targets are registered again".into());
                return case.again(registers, report, case.look());
            }
        }
    }
    if is_over(case) {
        // Late, but not with our cordon on: what is not registered by now is for a person to see.
        report.unread("the launch's deadline came before all was put back");
        let steps = vec![Step::PatchNode(back::put_back(case, &view.node, &record))];
        report.stage = Stage::Overdue;
        if !case.is_held() {
            return case.again(steps, report, case.look());
        }
        return case.done(steps, report, "the launch's deadline, with the node ready".into());
    }
    report.stage = Stage::Arriving("our cordon is taken back".into());
    case.again(vec![Step::PatchNode(back::put_back(case, &view.node, &record))], report, case.now())
}

/// What a hook waits for on an instance that came back, and goes again or may do so: our record stays on, since new pods would
/// die with it. That it stops may be what EC2 still shows of the life before.
fn goes_again(case: &Case<'_>, record: Option<&Departure>, report: &Report) -> Option<Course> {
    if !case.is_held() || record.is_none() {
        return None;
    }
    let lack = match &case.snapshot.aws.instance {
        Ok(Some(instance)) if instance.state.is_up() => return None,
        Ok(Some(instance)) if is_dying_or_dead(instance.state) => {
            let why = "the instance is going: nothing is taken back";
            return Some(continued(case, report.clone(), why.into()));
        }
        Ok(Some(instance)) => Lack::Seen(format!("EC2 shows its instance as {}", instance.state)),
        Ok(None) => return None,
        // At its deadline what is known must do.
        Err(_) if is_over(case) => return None,
        Err(unread) => Lack::Unread(format!("its instance could not be read: {}", unread.why)),
    };
    Some(waiting(case, report.clone(), &lack))
}

/// Whether EC2 ends the instance: it never comes back from that.
fn is_dying_or_dead(state: InstanceState) -> bool {
    matches!(state, InstanceState::ShuttingDown | InstanceState::Terminated)
}

fn continued(case: &Case<'_>, mut report: Report, why: String) -> Course {
    report.stage = Stage::Arrived;
    case.done(Vec::new(), report, why)
}

/// What stands in the way of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Lack {
    /// The node lacks it.
    Seen(String),
    /// It could not be read whether it does: that must not abandon an instance.
    Unread(String),
}

impl fmt::Display for Lack {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seen(what) | Self::Unread(what) => out.write_str(what),
        }
    }
}

/// Not ready: look again, or answer as the policy says at the deadline.
fn waiting(case: &Case<'_>, mut report: Report, lack: &Lack) -> Course {
    if is_over(case) {
        let result = match (lack, case.policy.launch_deadline) {
            (Lack::Unread(_), _) | (_, LaunchDeadline::Continue) => HookResult::Continue,
            (Lack::Seen(_), LaunchDeadline::Abandon) => HookResult::Abandon,
        };
        let why = format!("the launch's deadline, and {lack}");
        report.stage = Stage::Overdue;
        return Course { steps: Vec::new(), end: End::Done(result, why), report };
    }
    report.stage = Stage::Arriving(lack.to_string());
    case.again(Vec::new(), report, case.look())
}

/// Whether the launch has had its time: the policy's, or all that the hook gives. What is called off or over has a
/// deadline of its own no more.
fn is_over(case: &Case<'_>) -> bool {
    case.is_held() && is_last_moment(case) || case.now() >= case.since + case.policy.longest_launch
}

/// Whether an interruption whose time is still to come asks for the departure on record, in the life that EC2 shows.
fn is_doomed(case: &Case<'_>, record: &Departure) -> bool {
    let instance = case.snapshot.aws.instance.iter().flatten().next();
    let started_since = instance.and_then(|it| it.launched_at).is_some_and(|at| at > record.since);
    let ahead = |part: &Contributor| {
        part.is_interruption() && part.hard.is_some_and(|hard| hard > case.now())
    };
    !started_since && record.because.iter().any(ahead)
}

/// Our record of the departure that this arrival ends. Only an instance that comes back can have one.
fn record(case: &Case<'_>, node: &Node) -> Option<Departure> {
    let record = Departure::parse(node.annotations.get(DEPARTURE)?)?;
    (record.instance == case.snapshot.instance).then_some(record)
}

/// What the node still lacks, in words; `None` when it may serve.
fn missing(case: &Case<'_>, view: &NodeView, record: Option<&Departure>) -> Option<Lack> {
    let node = &view.node;
    let reboots = |signal: &Admitted<'_>| match signal.asks {
        Asks::Hook { signal, .. } => signal.route == HookRoute::RootVolume,
        Asks::Interruption { interruption, .. } => matches!(interruption.cause, Cause::State(_)),
    };
    let rebooting = case.signals.iter().any(reboots)
        && record.is_some_and(|record| record.boot.is_some() && record.boot == node.boot);
    if rebooting {
        return Some(Lack::Seen("its node still shows the boot before the stop".into()));
    }
    match node.ready {
        None => return Some(Lack::Seen("its node has no Ready condition yet".into())),
        Some(false) => return Some(Lack::Seen("its node is not Ready".into())),
        Some(true) => {}
    }
    let startup =
        |key: &str| STARTUP_TAINTS.contains(&key) || case.policy.startup_taints.contains(key);
    if let Some(taint) = node.taints.iter().find(|taint| startup(&taint.key)) {
        return Some(Lack::Seen(format!("its node still has the startup taint {}", taint.key)));
    }
    let pods = match &view.pods {
        Ok(pods) => pods,
        Err(unread) => {
            return Some(Lack::Unread(format!("its pods could not be read: {}", unread.why)));
        }
    };
    let daemon = pods.iter().find(|pod| {
        pod.owner.as_ref().is_some_and(|owner| owner.kind == "DaemonSet")
            && !pod.ready
            && pod.deletion.is_none()
    });
    daemon.map(|pod| Lack::Seen(format!("DaemonSet pod {} is not Ready", pod.key)))
}

/// Targets of groups that nobody but us registers, as the record says they were.
fn registers(groups: &[TargetGroup], record: &Departure) -> Vec<Step> {
    let named = groups.iter().filter(|group| group.owner == RegistrationOwner::Named);
    named
        .filter_map(|group| {
            let withdrawn = record.withdrawn_from(&group.arn)?;
            let registered: BTreeSet<(&str, u16)> = group
                .targets
                .iter()
                .filter(|target| target.state.is_registered())
                .map(|target| (target.id.as_str(), target.port))
                .collect();
            let targets: Vec<_> = withdrawn
                .targets
                .iter()
                .filter(|target| !registered.contains(&(target.id.as_str(), target.port)))
                .cloned()
                .collect();
            let change = TargetChange { group: group.arn.clone(), targets };
            (!change.targets.is_empty()).then_some(Step::Register(change))
        })
        .collect()
}

/// The PATCH that takes our out-of-service taint off, before anything else is waited for: while it is on a node that runs
/// again, the pods that come there are deleted by force.
fn in_service(node: &Node, record: &Departure) -> Option<NodePatch> {
    let is_out = node.taints.iter().any(|taint| taint.key == OUT_OF_SERVICE);
    if !record.out_of_service || !is_out {
        return None;
    }
    let record = Departure { out_of_service: false, ..record.clone() };
    let mut patch = patch(node, &record, PatchPurpose::Record);
    let others = node.taints.iter().filter(|taint| taint.key != OUT_OF_SERVICE);
    patch.taints = Some(others.cloned().collect());
    Some(patch)
}

/// The PATCH that puts back exactly what the record says we changed.
pub(crate) fn undo(node: &Node, record: &Departure) -> NodePatch {
    let ours = |key: &str| {
        record.tainted && key == TAINT || record.out_of_service && key == OUT_OF_SERVICE
    };
    let taints: Vec<_> = node.taints.iter().filter(|taint| !ours(&taint.key)).cloned().collect();
    let drop_taint = taints != node.taints;
    let drop_label = record.labelled && node.labels.contains_key(EXCLUDE);
    NodePatch {
        node: node.name.clone(),
        uid: node.uid.clone(),
        resource_version: node.resource_version.clone(),
        unschedulable: (record.cordoned && node.unschedulable).then_some(false),
        taints: drop_taint.then_some(taints),
        labels: if drop_label { vec![(EXCLUDE.into(), None)] } else { Vec::new() },
        annotations: vec![(DEPARTURE.into(), None)],
        purpose: PatchPurpose::Undo,
    }
}
