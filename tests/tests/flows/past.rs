//! What became of a flow: questions that tests ask of the world at its end, and what was seen on the way.

use crate::flow::{DEAD_LETTERS, INTERRUPTION_DEAD_LETTERS};
use crate::sight::{Mark, Sight};
use ebbtide::stage::Deployment;
use sandbox::aws::autoscaling::{Action, Ended, Verdict};
use sandbox::aws::elbv2::Health;
use sandbox::aws::events::Put;
use sandbox::aws::sqs::Stored;
use sandbox::kubernetes::Removal;
use sandbox::kubernetes::object::Object;
use sandbox::scenario::{Machine, Place, START};
use sandbox::world::{Call, Millis, World};
use std::collections::BTreeMap;
use std::sync::MutexGuard;

/// The hook that holds terminating instances for us.
pub(crate) const TERMINATE: &str = "ebbtide-terminate";

/// The hook that holds launching instances for us.
pub(crate) const LAUNCH: &str = "ebbtide-launch";

/// Lines of a transcript that are shown from its beginning, and from its end.
const TOLD_MAX: usize = 150;

/// How one lifecycle action of ours ended.
#[derive(Clone, Debug)]
pub(crate) struct Ending {
    /// The action.
    pub(crate) action: Action,
    /// When, since the world's start.
    pub(crate) at: Millis,
    /// How long it had waited.
    pub(crate) waited: Millis,
    /// How.
    pub(crate) how: Ended,
    /// Pods whose containers ran on the node at that moment, DaemonSets' and static ones left out.
    pub(crate) running: Vec<String>,
}

/// What was seen while the flow went on.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Pods on each node at the start, DaemonSets' and static ones left out.
    pub(crate) pods: BTreeMap<String, Vec<String>>,
    /// The fewest targets that a group ever had in, by ARN: healthy or about to be, on hosts that run.
    pub(crate) fewest: BTreeMap<String, usize>,
    /// Endings by token.
    endings: BTreeMap<String, Ending>,
    nodes: BTreeMap<String, String>,
    /// Hosts, nodes and groups.
    pub(crate) sight: Sight,
}

impl Seen {
    /// What there is at the start.
    pub(crate) fn begin(place: &Place) -> Self {
        let world = place.sandbox.world();
        let mut seen = Self { sight: Sight::begin(place), ..Self::default() };
        for Machine { instance, node, .. } in &place.machines {
            let pods = mortal(&world, node).map(name).collect();
            seen.pods.insert(node.clone(), pods);
            seen.nodes.insert(instance.clone(), node.clone());
        }
        seen
    }

    /// Takes note of what is new.
    pub(crate) fn look(&mut self, world: &World) {
        self.sight.look(world);
        for action in world.aws.autoscaling.actions.iter().filter(|action| action.ours) {
            let Some((at, how)) = action.ended else { continue };
            if !self.endings.contains_key(&action.token) {
                let known = world.aws.ec2.instances.get(&action.instance);
                let node = self.nodes.get(&action.instance);
                let node = node.or(known.map(|known| &known.private_dns)).cloned();
                let node = node.unwrap_or_default();
                let runs = |pod: &&Object| world.kubernetes.pod_running(&pod.meta.uid);
                let running = mortal(world, &node).filter(runs).map(name).collect();
                let waited = at - action.began_at;
                let action = action.clone();
                let ending = Ending { at: at - START, waited, how, running, action };
                self.endings.insert(ending.action.token.clone(), ending);
            }
        }
        for (arn, group) in &world.aws.elb.groups {
            let living = group.targets.iter().filter(|((id, _), target)| {
                matches!(target.health, Health::Healthy | Health::Initial(_))
                    && world.aws.ec2.is_up(id)
            });
            let living = living.count();
            let fewest = self.fewest.entry(arn.clone()).or_insert(living);
            *fewest = living.min(*fewest);
        }
    }
}

/// The pods of a node that a drain removes.
fn mortal<'a>(world: &'a World, node: &str) -> impl Iterator<Item = &'a Object> {
    world.kubernetes.pods_on(node).filter(|pod| {
        pod.controller().is_none_or(|owner| owner.kind != "DaemonSet" && owner.kind != "Node")
    })
}

fn name(pod: &Object) -> String {
    format!("{}/{}", pod.meta.namespace, pod.meta.name)
}

/// A flow that is over.
pub(crate) struct Past {
    /// The world.
    pub(crate) place: Place,
    /// How the function was deployed in it.
    pub(crate) deployment: Deployment,
    /// The queues that have a function.
    pub(crate) queues: Vec<&'static str>,
    /// What was seen on the way.
    pub(crate) seen: Seen,
}

impl Past {
    /// The world at its end.
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.place.sandbox.world()
    }

    /// The host of this index.
    pub(crate) fn machine(&self, host: usize) -> &Machine {
        &self.place.machines[host]
    }

    /// The host that the only departure was about.
    #[track_caller]
    pub(crate) fn departed(&self) -> usize {
        let mut hosts = (0..self.place.machines.len()).filter(|host| {
            let instance = &self.machine(*host).instance;
            self.actions().iter().any(|action| action.instance == *instance)
        });
        let departed = hosts.next().expect("some host departed");
        assert_eq!(hosts.next(), None, "only one host departed");
        departed
    }

    /// Lifecycle actions of ours, in order.
    pub(crate) fn actions(&self) -> Vec<Action> {
        let world = self.world();
        world.aws.autoscaling.actions.iter().filter(|action| action.ours).cloned().collect()
    }

    /// How the only action of this hook for this instance ended.
    #[track_caller]
    pub(crate) fn ending_of(&self, instance: &str, hook: &str) -> Ending {
        let mut actions = self.actions();
        actions.retain(|action| action.instance == instance && action.hook == hook);
        assert_eq!(actions.len(), 1, "actions of {hook} for {instance}\n{}", self.transcript());
        let ending = self.seen.endings.get(&actions[0].token);
        ending
            .unwrap_or_else(|| panic!("{hook} still waits for {instance}\n{}", self.transcript()))
            .clone()
    }

    /// How the terminate hook of a host ended.
    #[track_caller]
    pub(crate) fn ending(&self, host: usize) -> Ending {
        self.ending_of(&self.machine(host).instance, TERMINATE)
    }

    /// Asserts that the terminate hook of a host was answered CONTINUE, once, after its last pod had stopped, and that no
    /// message is left.
    #[track_caller]
    pub(crate) fn drained(&self, host: usize) -> Ending {
        let ending = self.continued(host);
        assert!(ending.running.is_empty(), "answered too early: {ending:?}\n{}", self.transcript());
        ending
    }

    /// Asserts that the terminate hook of a host was answered CONTINUE, once, and that no message is left.
    #[track_caller]
    pub(crate) fn continued(&self, host: usize) -> Ending {
        let ending = self.ending(host);
        self.check_continued(&ending);
        ending
    }

    /// Asserts that this action was answered CONTINUE, once, and that no message is left.
    #[track_caller]
    pub(crate) fn check_continued(&self, ending: &Ending) {
        let how = Ended::Answered(Verdict::Continue);
        assert_eq!(ending.how, how, "{ending:?}\n{}", self.transcript());
        let world = self.world();
        let token = Some(ending.action.token.as_str());
        let answers = world.aws.autoscaling.answers.iter();
        let accepted =
            answers.filter(|answer| answer.accepted && answer.token.as_deref() == token).count();
        drop(world);
        assert_eq!(accepted, 1, "accepted answers for {ending:?}\n{}", self.transcript());
        self.no_message_is_left();
    }

    /// Asserts that the functions' queues are empty, and their dead-letter queues too.
    #[track_caller]
    pub(crate) fn no_message_is_left(&self) {
        for queue in &self.queues {
            let left = self.world().aws.sqs.depth(queue);
            assert_eq!(left, 0, "messages left in {queue}\n{}", self.transcript());
        }
        assert_eq!(self.dead_letters().len(), 0, "dead letters\n{}", self.transcript());
    }

    /// The dead letters of both functions, in order.
    pub(crate) fn dead_letters(&self) -> Vec<Stored> {
        let world = self.world();
        let queues = [DEAD_LETTERS, INTERRUPTION_DEAD_LETTERS];
        let queues = queues.map(|name| world.aws.sqs.queues.get(name).expect("it was made"));
        queues.into_iter().flat_map(|queue| queue.messages.values().cloned()).collect()
    }

    /// Calls whose operation contains this text, in order.
    pub(crate) fn calls(&self, operation: &str) -> Vec<Call> {
        let world = self.world();
        world.calls.iter().filter(|call| call.operation.contains(operation)).cloned().collect()
    }

    /// Calls that write to the cluster, the load balancers or the hooks.
    pub(crate) fn writes(&self) -> Vec<Call> {
        let mut writes = self.place.sandbox.writes();
        writes.retain(|call| !call.operation.starts_with("sqs:"));
        writes
    }

    /// Pods that were removed from a host by us, in order.
    pub(crate) fn removals(&self, host: usize) -> Vec<Removal> {
        let node = &self.machine(host).node;
        let world = self.world();
        world.kubernetes.removals.iter().filter(|removal| removal.node == *node).cloned().collect()
    }

    /// Pods that were on a host at the start, DaemonSets' and static ones left out.
    pub(crate) fn pods_at_start(&self, host: usize) -> &[String] {
        &self.seen.pods[&self.machine(host).node]
    }

    /// Asserts that exactly the pods that were on the host at the start were removed.
    #[track_caller]
    pub(crate) fn all_pods_were_removed(&self, host: usize) {
        let mut removed: Vec<String> =
            self.removals(host).into_iter().map(|removal| removal.pod).collect();
        removed.sort();
        let mut expected = self.pods_at_start(host).to_vec();
        expected.sort();
        assert!(!expected.is_empty(), "the host had pods to drain");
        assert_eq!(removed, expected, "{}", self.transcript());
    }

    /// A host's node, as the API shows it at the end.
    pub(crate) fn node(&self, host: usize) -> Option<Object> {
        self.world().kubernetes.node(&self.machine(host).node).cloned()
    }

    /// Whether the node of this host was ever cordoned by us.
    pub(crate) fn was_cordoned(&self, host: usize) -> bool {
        let line = format!("{} cordoned", self.machine(host).node);
        self.world().story.iter().any(|(_, told)| *told == line)
    }

    /// When the node of this host was cordoned by us, since the world's start.
    #[track_caller]
    pub(crate) fn cordoned_at(&self, host: usize) -> Millis {
        let line = format!("{} cordoned", self.machine(host).node);
        let cordoned = self.world().story.iter().find(|(_, told)| *told == line).map(|(at, _)| *at);
        cordoned.unwrap_or_else(|| panic!("never cordoned\n{}", self.transcript())) - START
    }

    /// When this host first went down, since the world's start.
    #[track_caller]
    pub(crate) fn died_at(&self, host: usize) -> Millis {
        let died = self.seen.sight.died.get(&self.machine(host).instance);
        *died.unwrap_or_else(|| panic!("it lives\n{}", self.transcript()))
    }

    /// How the node of this host looked, each change.
    pub(crate) fn marks(&self, host: usize) -> &[(Millis, Mark)] {
        &self.seen.sight.marks[&self.machine(host).node]
    }

    /// When AWS first sent an event of this type about this host, since the world's start.
    #[track_caller]
    pub(crate) fn sent_at(&self, host: usize, detail_type: &str) -> Millis {
        let instance = &self.machine(host).instance;
        let world = self.world();
        let mut sent = world.aws.events.events_log.iter();
        let first =
            sent.find(|sent| sent.detail_type == detail_type && sent.body.contains(instance));
        first.unwrap_or_else(|| panic!("{detail_type} was never sent")).at - START
    }

    /// When a load balancer last sent a request to this host, since the world's start.
    #[track_caller]
    pub(crate) fn last_request_through(&self, host: usize) -> Millis {
        let last = self.world().traffic.last_request_through(&self.machine(host).instance);
        last.expect("it served") - START
    }

    /// Asserts that no request was dropped.
    #[track_caller]
    pub(crate) fn nothing_was_dropped(&self) {
        let (dropped, reports) = {
            let world = self.world();
            (world.traffic.dropped(), world.traffic.reports())
        };
        assert_eq!(dropped, 0, "{reports:#?}\n{}", self.transcript());
    }

    /// Whether this host has a target in the group of this index, draining or not.
    pub(crate) fn is_target(&self, host: usize, group: usize) -> bool {
        let world = self.world();
        let targets = &world.aws.elb.groups[&self.place.groups[group]].targets;
        targets.keys().any(|(id, _)| *id == self.machine(host).instance)
    }

    /// The events that were told on a bus, in order.
    pub(crate) fn told(&self, bus: &str) -> Vec<Put> {
        let world = self.world();
        world.aws.events.put.iter().filter(|put| put.bus == bus).cloned().collect()
    }

    /// Asserts that no pod was removed twice, by whomever.
    #[track_caller]
    pub(crate) fn no_pod_left_twice(&self) {
        let mut uids: Vec<String> = {
            let world = self.world();
            world.kubernetes.removals.iter().map(|removal| removal.uid.clone()).collect()
        };
        let all = uids.len();
        uids.sort();
        uids.dedup();
        assert_eq!(uids.len(), all, "{}", self.transcript());
    }

    /// Story and calls in order, for reading a failure.
    pub(crate) fn transcript(&self) -> String {
        let world = self.world();
        let story = world.story.iter().map(|(at, line)| (*at, line.clone()));
        let calls = world.calls.iter().map(|call| {
            let Call { at, process, status, operation, subject, .. } = call;
            (*at, format!("  p{process} {status} {operation} {subject}"))
        });
        let mut lines: Vec<(Millis, String)> = story.chain(calls).collect();
        lines.sort_by_key(|(at, _)| *at);
        let count = lines.len();
        let left_out =
            |index: &usize| *index >= TOLD_MAX && *index < count.saturating_sub(TOLD_MAX);
        let shown = lines.iter().enumerate().filter(|(index, _)| !left_out(index));
        shown.map(|(_, (at, line))| format!("{:>9} {line}\n", at - START)).collect()
    }
}
