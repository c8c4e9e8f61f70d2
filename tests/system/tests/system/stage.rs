//! What every case begins with, and how it waits.

use cluster_tests::Tools;
use lambda::{Mapping, Process, State};
use sandbox::World;
use sandbox::aws::autoscaling::Ended;
use sandbox::aws::elbv2::Health;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use system_tests::{
    Api, Binaries, DEAD_LETTER_QUEUE, Deployment, Group, Machine, Options, QUEUES, System, Workload,
};
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep};

pub(crate) type Running = Pin<Box<dyn Future<Output = ()>>>;
pub(crate) type Run = Box<dyn FnOnce(Given) -> Running + Send>;
pub(crate) type Case = (&'static str, fn(Given) -> Running);

/// What every case is given.
#[derive(Clone)]
pub(crate) struct Given {
    pub(crate) tools: Tools,
    pub(crate) binaries: Binaries,
    pub(crate) shared: Shared,
}

/// A plant for all that change nothing but groups of their own; the first case that needs it starts it.
pub(crate) type Shared = Arc<OnceCell<Arc<Plant>>>;

/// What nobody announces: a cold start, a controller's round, on a machine that is busy.
pub(crate) const SOON: Duration = Duration::from_secs(60);
/// When a lost invocation's messages are visible again at the latest: the queues' visibility timeout.
const LOST: Duration = Duration::from_secs(90);
/// A departure with debug binaries, after a lost invocation.
pub(crate) const DEPARTED: Duration = Duration::from_secs(90 + LOST.as_secs());
/// A cordon, after a lost invocation.
const CORDONED: Duration = Duration::from_secs(SOON.as_secs() + LOST.as_secs());
/// Cases with a control plane of their own at once, beside the shared one: each has an etcd that takes 128 MB of disk before it
/// writes anything, and four programs. Half: they last twice as long as all others. Twice: two cores are too few for them.
static OWN: Semaphore = Semaphore::const_new(2);
pub(crate) const LOOK: Duration = Duration::from_millis(250);

/// A system with both functions.
pub(crate) struct Plant {
    // The functions end before what they talk to.
    pub(crate) interruption: Mapping,
    _lifecycle: Mapping,
    pub(crate) system: System,
}

/// A plant, and a client of this case's own.
pub(crate) struct Stage {
    pub(crate) api: Api,
    pub(crate) plant: Arc<Plant>,
    _own: Option<SemaphorePermit<'static>>,
}

impl Deref for Stage {
    type Target = Plant;

    fn deref(&self) -> &Plant {
        &self.plant
    }
}

impl Stage {
    /// One of the case's own.
    pub(crate) async fn new(given: &Given, options: Options) -> Self {
        let own = OWN.acquire().await.expect("it is never closed");
        Self::of(Arc::new(Plant::start(given, options).await), Some(own))
    }

    /// The one that is shared.
    pub(crate) async fn shared(given: &Given) -> Self {
        let start = async || Arc::new(Plant::start(given, Options::new("shared")).await);
        Self::of(given.shared.get_or_init(start).await.clone(), None)
    }

    fn of(plant: Arc<Plant>, own: Option<SemaphorePermit<'static>>) -> Self {
        Self { api: plant.system.api().unwrap(), plant, _own: own }
    }

    /// So many nodes of a group, with two pods on each, and a budget that lets one go at a time.
    pub(crate) async fn group(&self, name: &str, nodes: u32) -> Vec<Machine> {
        self.group_of(&Group::new(name), nodes).await
    }

    /// The same for any group.
    pub(crate) async fn group_of(&self, group: &Group, nodes: u32) -> Vec<Machine> {
        let machines =
            self.system.add_group(group, nodes).await.unwrap_or_else(|why| panic!("{why}"));
        self.work(&group.name, &group.name, (machines.len() * 2, json!({"maxUnavailable": 1})))
            .await;
        machines
    }

    /// So many pods of a Deployment of this name on the nodes of a group, with a budget unless it is null.
    pub(crate) async fn work(&self, name: &str, group: &str, (replicas, budget): (usize, Value)) {
        let workload = Workload {
            name: name.to_owned(),
            replicas,
            pool: group.to_owned(),
            budget,
            grace_seconds: 5,
            finalizers: Vec::new(),
        };
        workload.create(&self.api, SOON).await.unwrap_or_else(|why| panic!("{why}"));
    }

    /// The names of the pods on a node.
    pub(crate) async fn pods(&self, machine: &Machine) -> Vec<String> {
        let path = format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{}", machine.node);
        let found = self.api.get(&path).await.unwrap();
        let pods = found["items"].as_array().into_iter().flatten();
        pods.filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned)).collect()
    }

    /// Waits until nothing is left on a node.
    pub(crate) async fn drained(&self, machine: &Machine, role: &str) {
        let by = Instant::now() + DEPARTED;
        loop {
            let pods = self.pods(machine).await;
            if pods.is_empty() {
                return;
            }
            let tail = || self.story(role);
            assert!(Instant::now() < by, "{pods:?} are still on {}\n{}", machine.node, tail());
            sleep(LOOK).await;
        }
    }

    /// Waits until a departure's record is written, and returns it.
    pub(crate) async fn record(&self, machine: &Machine, role: &str) -> Value {
        let what = format!("a record of {}", machine.instance);
        self.until((&what, role), || self.system.records(role, &machine.instance).pop()).await
    }

    /// Waits until `done` says something; what a function logged is the message of a failure.
    pub(crate) async fn until<T>(
        &self,
        (what, role): (&str, &str),
        mut done: impl FnMut() -> Option<T>,
    ) -> T {
        let by = Instant::now() + DEPARTED;
        loop {
            if let Some(found) = done() {
                return found;
            }
            if Instant::now() >= by {
                panic!("{what}: not within {DEPARTED:?}\n{}", self.story(role));
            }
            sleep(LOOK).await;
        }
    }

    /// What a failure tells: the requests of a function that were refused, and the end of what it logged.
    fn story(&self, role: &str) -> String {
        let (refused, tail) = (self.system.refused(role), self.system.log_tail(role));
        format!("refused to {role}: {refused:?}\n{tail}")
    }

    /// Waits until a node is cordoned, with our taint and our annotation.
    pub(crate) async fn cordoned(&self, machine: &Machine, role: &str) {
        let path = format!("/api/v1/nodes/{}", machine.node);
        let found =
            self.api.until(&path, CORDONED, |node| node["spec"]["unschedulable"] == true).await;
        let node = found.unwrap_or_else(|why| panic!("{why}\n{}", self.story(role)));
        let taints = node["spec"]["taints"].to_string();
        assert!(taints.contains("ebbtide.dev/"), "{taints}");
        let annotations = node["metadata"]["annotations"].to_string();
        assert!(annotations.contains("ebbtide.dev/"), "{annotations}");
    }

    /// Waits until a node is as it was before a departure.
    pub(crate) async fn put_back(&self, machine: &Machine, role: &str) {
        let path = format!("/api/v1/nodes/{}", machine.node);
        let is_back = |node: &Value| {
            let annotations = node["metadata"]["annotations"].to_string();
            node["spec"]["unschedulable"] != true
                && !node["spec"]["taints"].to_string().contains("ebbtide.dev/")
                && !annotations.contains("ebbtide.dev/")
        };
        let found = self.api.until(&path, DEPARTED, is_back).await;
        drop(found.unwrap_or_else(|why| panic!("{why}\n{}", self.story(role))));
    }

    /// Waits until no load balancer sends to an instance any more.
    pub(crate) async fn withdrawn(&self, machine: &Machine, role: &str) {
        let what = format!("{} leaves its target group", machine.instance);
        self.until((&what, role), || (!self.serves(machine)).then_some(())).await;
    }

    /// Whether an instance is a target that is not draining.
    pub(crate) fn serves(&self, machine: &Machine) -> bool {
        let world = self.system.sandbox.world();
        let mut targets = world.aws.elb.groups.values().flat_map(|group| &group.targets);
        targets.any(|((id, _), target)| {
            *id == machine.instance && !matches!(target.health, Health::Draining { .. })
        })
    }

    /// Waits until a hook of an instance is answered, and returns with what; it is answered once.
    pub(crate) async fn answered(&self, machine: &Machine, hook: &str, role: &str) -> Ended {
        let what = format!("{hook} of {} is answered", machine.instance);
        let ended = || {
            let world = self.system.sandbox.world();
            let mut actions = world.aws.autoscaling.actions.iter();
            let action = actions.find(|it| it.instance == machine.instance && it.hook == hook)?;
            action.ended.map(|(_, ended)| ended)
        };
        let ended = self.until((&what, role), ended).await;
        let world = self.system.sandbox.world();
        let answers = world.aws.autoscaling.answers.iter();
        let ours = answers.filter(|it| it.instance == machine.instance && it.hook == hook);
        assert_eq!(ours.filter(|it| it.accepted).count(), 1, "{ended:?}");
        ended
    }

    /// Orders what is left on a node away, as a person does.
    pub(crate) async fn force(&self, machine: &Machine) {
        let path = format!("/api/v1/nodes/{}", machine.node);
        let order = json!({"metadata": {"annotations": {"ebbtide.dev/force": "now"}}});
        drop(self.api.patch(&path, &order).await.unwrap());
    }

    /// The node goes with its instance, as the cloud's controller sees to.
    pub(crate) async fn gone(&self, machine: &Machine) {
        drop(self.api.delete(&format!("/api/v1/nodes/{}", machine.node)).await.unwrap());
    }

    /// Waits until every message that names an instance is acknowledged; none of them is a dead letter.
    pub(crate) async fn acknowledged(&self, machine: &Machine, role: &str) {
        let what = format!("all about {} is acknowledged", machine.instance);
        self.until((&what, role), || {
            let world = self.system.sandbox.world();
            let queues = QUEUES.iter().filter_map(|queue| world.aws.sqs.queues.get(*queue));
            let mut messages = queues.flat_map(|queue| queue.messages.values());
            (!messages.any(|it| it.body.contains(&machine.instance))).then_some(())
        })
        .await;
        self.assert_well();
    }

    /// No dead letter, and no request that was not allowed: a right that is missing is named here.
    #[track_caller]
    pub(crate) fn assert_well(&self) {
        let refused = ["interruption", "lifecycle"].map(|role| self.system.refused(role));
        assert_eq!(refused, [BTreeSet::new(), BTreeSet::new()], "no right is missing");
        let dead = self.dead_letters(DEAD_LETTER_QUEUE);
        assert!(dead.is_empty(), "{dead:?}");
    }

    /// The bodies of what is in a dead-letter queue.
    pub(crate) fn dead_letters(&self, queue: &str) -> Vec<String> {
        let world = self.system.sandbox.world();
        let queues = world.aws.sqs.queues.get(queue).into_iter();
        queues.flat_map(|queue| queue.messages.values()).map(|it| it.body.clone()).collect()
    }

    /// Does something to the account.
    pub(crate) fn aws<T>(&self, act: impl FnOnce(&mut World) -> T) -> T {
        act(&mut self.system.sandbox.world())
    }
}

impl Plant {
    async fn start(given: &Given, options: Options) -> Self {
        let system =
            System::start(&given.tools, options).await.unwrap_or_else(|why| panic!("{why}"));
        let [interruption, lifecycle] = ["interruption", "lifecycle"]
            .map(|function| system.deploy(&given.binaries, &Deployment::new(function)).unwrap());
        Self { interruption, _lifecycle: lifecycle, system }
    }
}

/// The processes of a mapping that have an invocation.
pub(crate) fn busy(mapping: &Mapping) -> Vec<Process> {
    let processes = mapping.processes().into_iter();
    processes.filter(|it| it.state == State::Busy && !it.frozen).collect()
}
