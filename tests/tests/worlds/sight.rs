//! What is seen of the nodes while the interrupted worlds go on: what they carry of ours and since when, and what was still
//! there when a host began to go.

use decision::annotation::{DEPARTURE, OUT_OF_SERVICE, TAINT};
use sandbox::aws::ec2::State;
use sandbox::aws::elbv2::Health;
use sandbox::kubernetes::Kind;
use sandbox::kubernetes::object::Object;
use sandbox::world::{Millis, World};
use std::collections::{BTreeMap, BTreeSet};

/// What a node carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    /// Our taint.
    pub(crate) tainted: bool,
    /// Our record.
    pub(crate) recorded: bool,
    /// The out-of-service taint.
    pub(crate) out_of_service: bool,
    /// `spec.unschedulable`, whoever set it.
    pub(crate) cordoned: bool,
    /// Ready.
    pub(crate) ready: bool,
}

/// As long as a taint is on its way from EC2's answer to the node: reads of the cluster, and a patch that is slow.
const TAINT_TAKES: Millis = 5_000;

/// What was still there when EC2 first said that an instance goes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Left {
    /// When.
    pub(crate) at: Millis,
    /// Pods that nobody had told to go: namespace/name and uid.
    pub(crate) pods: Vec<(String, String)>,
    /// Groups in which it was healthy beside another that was.
    pub(crate) groups: Vec<String>,
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sight {
    version: u64,
    events: usize,
    /// The marks of each instance's node, each time that they changed.
    pub(crate) marks: BTreeMap<String, Vec<(Millis, Marks)>>,
    /// What was left on each host that went, each time.
    pub(crate) left: BTreeMap<String, Vec<Left>>,
    up: BTreeMap<String, bool>,
    /// Instances that EC2 said have stopped, and have not been started since: they end without running again.
    stopped: BTreeSet<String>,
    /// Out-of-service taints that came while EC2 said that the instance runs.
    pub(crate) too_early: Vec<String>,
}

impl Sight {
    /// Looks at the world once more.
    pub(crate) fn look(&mut self, world: &World) {
        // EC2 tells of each change of a state.
        let events = world.aws.events.events_log.len();
        if events != self.events {
            self.events = events;
            self.look_at_hosts(world);
        }
        let version = world.kubernetes.store.latest(Kind::Node, None);
        if version != self.version {
            self.version = version;
            self.look_at_nodes(world);
        }
    }

    fn look_at_hosts(&mut self, world: &World) {
        for (id, known) in &world.aws.ec2.instances {
            let up = matches!(known.state, State::Pending | State::Running);
            if up {
                self.stopped.remove(id);
            } else if known.state == State::Stopped {
                self.stopped.insert(id.clone());
            }
            if self.up.get(id).copied().unwrap_or(true) && !up {
                self.left.entry(id.clone()).or_default().push(left(world, id));
            }
            if self.up.get(id) != Some(&up) {
                self.up.insert(id.clone(), up);
            }
        }
    }

    fn look_at_nodes(&mut self, world: &World) {
        for (_, node) in world.kubernetes.store.all(Kind::Node) {
            let Some(instance) =
                node.spec["providerID"].as_str().and_then(|id| id.rsplit('/').next())
            else {
                continue;
            };
            let now = marks(node);
            let seen = self.marks.entry(instance.to_owned()).or_default();
            let before = seen.last().map_or_else(Marks::default, |(_, marks)| *marks);
            if now == before {
                continue;
            }
            seen.push((world.now, now));
            let state = world.aws.ec2.state(instance);
            let runs = match state {
                Some(State::Running | State::Stopping) => true,
                Some(State::Pending) => !was_just_started(world, instance),
                Some(State::ShuttingDown | State::Stopped | State::Terminated) | None => false,
            };
            let dies = state == Some(State::ShuttingDown) && !self.stopped.contains(instance);
            if now.out_of_service && !before.out_of_service && (runs || dies) {
                self.too_early.push(format!("{instance} is {state:?} at {}", world.now));
            }
        }
    }

    /// The marks of an instance's node at `at`.
    pub(crate) fn marks_at(&self, instance: &str, at: Millis) -> Marks {
        let seen = self.marks.get(instance).map_or(&[][..], Vec::as_slice);
        let before = seen.iter().rev().find(|(since, _)| *since <= at);
        before.map_or_else(Marks::default, |(_, marks)| *marks)
    }

    /// Whether its node carried our taint at any time in this span.
    pub(crate) fn was_tainted(
        &self,
        instance: &str,
        span: std::ops::RangeInclusive<Millis>,
    ) -> bool {
        let seen = self.marks.get(instance).map_or(&[][..], Vec::as_slice);
        self.marks_at(instance, *span.start()).tainted
            || seen.iter().any(|(at, marks)| marks.tainted && span.contains(at))
    }
}

fn marks(node: &Object) -> Marks {
    let taints = node.spec["taints"].as_array().map_or(&[][..], Vec::as_slice);
    let has = |key: &str| taints.iter().any(|taint| taint["key"] == key);
    Marks {
        tainted: has(TAINT),
        recorded: node.meta.annotations.contains_key(DEPARTURE),
        out_of_service: has(OUT_OF_SERVICE),
        cordoned: node.spec["unschedulable"] == true,
        ready: node.condition_is("Ready", "True"),
    }
}

fn left(world: &World, instance: &str) -> Left {
    let node = world.kubernetes.node_of_instance(instance).unwrap_or_default();
    let pods = world.kubernetes.pods_on(node).filter(|pod| is_drainable(pod));
    let names = |pod: &Object| {
        (format!("{}/{}", pod.meta.namespace, pod.meta.name), (*pod.meta.uid).to_owned())
    };
    let healthy = |id: &str, group: &sandbox::aws::elbv2::TargetGroup| {
        let mut targets = group.targets.iter();
        targets.any(|((target, _), it)| target == id && it.health == Health::Healthy)
    };
    let others = |group: &&sandbox::aws::elbv2::TargetGroup| {
        let mut targets = group.targets.keys();
        targets.any(|(id, _)| id != instance && healthy(id, group))
    };
    let groups = world.aws.elb.groups.values();
    let groups = groups.filter(|group| healthy(instance, group)).filter(others);
    Left {
        at: world.now,
        pods: pods.map(names).collect(),
        groups: groups.map(|group| group.arn.clone()).collect(),
    }
}

/// A pod that a departure waits for, and that was not told to go.
fn is_drainable(pod: &Object) -> bool {
    let owner = pod.controller().map(|owner| owner.kind.to_string());
    let stays = matches!(owner.as_deref(), Some("DaemonSet" | "Node"));
    let finished = ["Succeeded", "Failed"].iter().any(|phase| pod.status["phase"] == *phase);
    let tolerations = pod.spec["tolerations"].as_array().map_or(&[][..], Vec::as_slice);
    let tolerates = tolerations.iter().any(|it| it["operator"] == "Exists" && it["key"].is_null());
    pod.meta.deletion.is_none() && !stays && !finished && !tolerates
}

/// A host that has only begun to boot runs no pod yet: the taint was decided on while it was down. When it runs, the taint is
/// taken off again.
fn was_just_started(world: &World, instance: &str) -> bool {
    let known = world.aws.ec2.instances.get(instance);
    known.is_some_and(|known| world.now - known.launched_at <= TAINT_TAKES)
}
