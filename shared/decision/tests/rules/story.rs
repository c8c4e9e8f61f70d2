//! A departure as a story: the world does what the steps say, turn after turn, until nothing is left to decide.

use crate::world::{
    answer, deleted, millis, node_mut, patched, peer, reached, secs, steps, view_mut, written,
};
use decision::annotation::DEPARTURE;
use decision::decide::decide;
use decision::decision::{Decision, Next};
use decision::looks;
use decision::policy::Policy;
use decision::snapshot::aws::{Target, TargetState};
use decision::snapshot::cluster::NodeView;
use decision::snapshot::{Snapshot, Unread};
use decision::step::Step;
use decision::time::Timestamp;

/// The world does at once what the steps say: targets drain for as long as their group says, evicted pods end after two
/// seconds.
pub(crate) fn perform(snapshot: &mut Snapshot, decision: &Decision) {
    let now = snapshot.now;
    for step in &decision.steps {
        match step {
            Step::PatchNode(patch) => {
                let node = patched(node_mut(snapshot).clone(), patch);
                let own = node.annotations.contains_key(DEPARTURE).then(|| peer(&written(patch)));
                *node_mut(snapshot) = node;
                view_mut(snapshot).peers = Ok(own.into_iter().collect());
            }
            Step::Deregister(call) => {
                for group in snapshot.aws.target_groups.iter_mut().flatten() {
                    let out = |target: &Target| {
                        let named =
                            call.change.targets.iter().map(|out| (out.id.as_str(), out.port));
                        named.into_iter().any(|out| out == (target.id.as_str(), target.port))
                    };
                    let drains = |target: &Target| match out(target) {
                        true => Target { state: TargetState::Draining, ..target.clone() },
                        false => target.clone(),
                    };
                    group.targets = group.targets.iter().map(drains).collect();
                }
            }
            Step::Evict { pod: removal, .. } => {
                for pod in view_mut(snapshot)
                    .pods
                    .iter_mut()
                    .flatten()
                    .filter(|pod| pod.uid == removal.uid)
                {
                    pod.deletion = deleted(now + secs(2));
                }
            }
            Step::Delete { pod, grace_seconds } => {
                let ends_at = now + secs(u64::from((*grace_seconds).min(2)));
                for found in view_mut(snapshot).pods.iter_mut().flatten() {
                    if found.uid == pod.uid {
                        found.deletion = deleted(ends_at);
                    }
                }
            }
            Step::Heartbeat(_) | Step::Note(_) | Step::Register(_) => {}
        }
    }
}

fn pass(snapshot: &mut Snapshot, to: Timestamp, out_at: Option<Timestamp>) {
    snapshot.now = to.max(snapshot.now + millis(100));
    let now = snapshot.now;
    for group in snapshot.aws.target_groups.iter_mut().flatten() {
        group.read_at = now;
        let over = out_at.is_some_and(|at| now >= at + group.deregistration_delay);
        let stays = |target: &&Target| target.state != TargetState::Draining || !over;
        group.targets = group.targets.iter().filter(stays).cloned().collect();
    }
    if let Ok(pods) = &mut view_mut(snapshot).pods {
        pods.retain(|pod| pod.deletion.is_none_or(|deletion| deletion.ends_at > now));
    }
}

/// What a turn reads of the world: what `looks` asks for, round by round; the rest stays unread.
pub(crate) fn read_as_asked(world: &Snapshot, policy: &Policy) -> Snapshot {
    let mut read = world.clone();
    let all = view_mut(&mut read).clone();
    let unasked = || Unread::because("not read in this turn");
    let mut view = NodeView {
        node: all.node.clone(),
        outdated: None,
        peers: Err(unasked()),
        pods: Err(unasked()),
        budgets: Err(unasked()),
        services: Err(unasked()),
        siblings: Err(unasked()),
        volumes: Err(unasked()),
    };
    read.cluster = reached(view.clone());
    let wanted = looks::target_groups(&read, policy);
    if let Ok(groups) = &mut read.aws.target_groups {
        groups.retain(|group| wanted.contains_key(&group.arn));
    }
    if looks::peers(&read, &view, policy) {
        view.peers = all.peers.clone();
    }
    if looks::pods(&read, &view, policy) {
        view.pods = all.pods;
    }
    if looks::budgets(&read, &view, policy) {
        (view.budgets, view.services, view.siblings) = (all.budgets, all.services, Ok(Vec::new()));
        if looks::family(&read, &view, policy).is_empty() {
            view.services.iter_mut().flatten().for_each(|service| service.ready.clear());
        } else {
            (view.peers, view.siblings) = (all.peers, all.siblings);
        }
    }
    if looks::volumes(&read, &view, policy) {
        view.volumes = all.volumes;
    }
    read.cluster = reached(view);
    read
}

/// The story of the first signal, decided from what `read` sees of the world.
pub(crate) fn story(
    mut snapshot: Snapshot,
    policy: &Policy,
    read: impl Fn(&Snapshot) -> Snapshot,
) -> String {
    let began = snapshot.signals[0].sent_at;
    let (mut told, mut out_at) = (Vec::new(), None);
    for _ in 0..200 {
        let decision = decide(&read(&snapshot), policy);
        let age = snapshot.now.since(began).as_secs();
        told.extend(steps(&decision).into_iter().map(|step| format!("{age:>3} s  {step}")));
        if decision.steps.iter().any(|step| matches!(step, Step::Deregister(_))) {
            out_at = Some(snapshot.now);
        }
        perform(&mut snapshot, &decision);
        match decision.answers[0].next {
            Next::ComeBack { at } => pass(&mut snapshot, at, out_at),
            Next::Answer { .. } | Next::Finished(_) | Next::Reject { .. } => {
                told.push(format!("{age:>3} s  {}", answer(&decision, snapshot.now)));
                return told.join("\n");
            }
        }
    }
    panic!("it never ends: {told:#?}");
}
