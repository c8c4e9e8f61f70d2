//! A flow: a scenario, what befalls it when, and the function on it until nothing waits any more.

use crate::past::{Past, Seen};
use decision::decide::decide;
use decision::looks::wants_instance;
use decision::policy::Policy;
use ebbtide::stage::{Deployment, function_of};
use runtime::app::{App, Decide, Wants};
use runtime::clock::Clock;
use sandbox::Sandbox;
use sandbox::aws::autoscaling::AsgSpec;
use sandbox::fault::{Fault, Scope, Window};
use sandbox::kubernetes::{Workload, WorkloadKind};
use sandbox::lambda::Lambda;
use sandbox::scenario::{
    GROUP, INTERRUPTION_QUEUE, Incident, LIFECYCLE_QUEUE, Owner, Place, START, Scenario,
};
use sandbox::world::{Millis, World};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// One second in the world's own unit.
pub(crate) const SECOND: Millis = 1_000;

/// One minute.
pub(crate) const MINUTE: Millis = 60 * SECOND;

/// One hour.
pub(crate) const HOUR: Millis = 60 * MINUTE;

/// A flow is over when nothing waits, and for so long after that nothing new came.
const QUIET: Millis = MINUTE;

/// The same with interruptions: from a capacity block's warning to the end of its last instance, and what follows.
const LATER: Millis = 14 * MINUTE;

/// The dead-letter queue of the function's queue.
pub(crate) const DEAD_LETTERS: &str = "ebbtide-lifecycle-dead-letter";

/// The same of the interruption function's queue.
pub(crate) const INTERRUPTION_DEAD_LETTERS: &str = "ebbtide-interruption-dead-letter";

/// From an event to its arrival in the queue, in flows with interruptions.
pub(crate) const DELIVERY: Millis = 500;

type Moment = Box<dyn FnOnce(&mut World, &Place)>;

/// Changes a process of a function before its first invocation.
type Process = Rc<dyn Fn(&mut App, &Sandbox)>;

/// A flow to be.
pub(crate) struct Flow {
    /// The world.
    pub(crate) scenario: Scenario,
    settings: BTreeMap<&'static str, String>,
    decide: Decide,
    wants: Wants,
    moments: Vec<(Millis, Moment)>,
    longest: Millis,
    goes_on: Millis,
    interruptions: bool,
    processes: Vec<Process>,
}

impl Flow {
    /// The small world, in mode `act`, with target groups that drain in 20 s: `web` attached to the group, `api` named in
    /// the configuration. Hooks have a heartbeat of 300 s.
    pub(crate) fn new() -> Self {
        let mut scenario = Scenario::small(7);
        for front in &mut scenario.fronts {
            front.target_group.deregistration_delay_seconds = 20;
        }
        Self {
            scenario,
            settings: [("MODE", "act".to_owned())].into(),
            decide,
            wants: wants_instance,
            moments: Vec::new(),
            longest: HOUR,
            goes_on: QUIET,
            interruptions: false,
            processes: Vec::new(),
        }
    }

    /// The small world with the interruption function beside the lifecycle function, each on its own queue. Both fronts
    /// have a pod on each node, and events arrive after [`DELIVERY`].
    pub(crate) fn interrupted() -> Self {
        Self::new().with_interruptions().with(|scenario| {
            let api = scenario.workloads.iter_mut().find(|workload| workload.name == "api");
            api.unwrap().replicas = 4;
        })
    }

    /// The interruption function beside the other, on whatever this flow is. What is drained may end some time later, so
    /// the world is watched longer.
    pub(crate) fn with_interruptions(mut self) -> Self {
        (self.interruptions, self.goes_on) = (true, LATER);
        self.with(|scenario| scenario.delivery.delay_ms = DELIVERY..=DELIVERY)
    }

    /// Changes the Auto Scaling group, before anything befalls it: incidents come later than the start.
    pub(crate) fn group(self, change: impl FnOnce(&mut AsgSpec) + 'static) -> Self {
        self.at(0, |world, _| {
            let group = world.aws.autoscaling.groups.get_mut(GROUP);
            change(&mut group.unwrap().spec);
        })
    }

    /// Changes every process of both functions.
    pub(crate) fn process(mut self, change: impl Fn(&mut App, &Sandbox) + 'static) -> Self {
        self.processes.push(Rc::new(change));
        self
    }

    /// Departures are told on this event bus.
    pub(crate) fn telling(self, bus: &'static str) -> Self {
        self.process(|app, _| app.event_bus = Some(bus.to_owned()))
    }

    /// The processes' clocks show so much more (or, negative, less) than AWS's.
    pub(crate) fn clock_off_by(self, off: Millis) -> Self {
        self.process(move |app, _| {
            let (now, by) = (app.clock.now(), Duration::from_millis(off.unsigned_abs()));
            app.clock = Clock::starting(if off < 0 { now - by } else { now + by });
        })
    }

    /// The same world without load balancers: a terminating instance's hook begins at once.
    pub(crate) fn without_fronts() -> Self {
        Self::new().with(|scenario| scenario.fronts.clear())
    }

    /// A world without load balancers in which one pod of this workload is all there is to drain, on one of three nodes.
    /// The departure of its node begins at once.
    pub(crate) fn of_one_pod(change: impl FnOnce(&mut Workload)) -> Self {
        let mut pod = Workload::new(WorkloadKind::Deployment, "default", "lone", 1);
        change(&mut pod);
        Self::without_fronts().with(|scenario| scenario.workloads = vec![pod]).at(
            0,
            |world, place| {
                let mut machines = place.machines.iter();
                let home = machines.find(|m| lone(world, &m.node)).map(|m| m.instance.clone());
                let home = home.expect("the pod is on some node");
                sandbox::aws::autoscaling::Autoscaling::terminate(
                    world,
                    &home,
                    sandbox::aws::autoscaling::Capacity::Keep,
                );
            },
        )
    }

    /// Changes the scenario.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Scenario)) -> Self {
        change(&mut self.scenario);
        self
    }

    /// The hooks' heartbeat timeout; the global one is a hundred times that.
    pub(crate) fn heartbeat(self, seconds: i64) -> Self {
        self.with(|scenario| {
            scenario.hooks.iter_mut().for_each(|hook| hook.heartbeat_seconds = seconds);
        })
    }

    /// Sets an environment variable of the function.
    pub(crate) fn setting(mut self, variable: &'static str, value: &str) -> Self {
        self.settings.insert(variable, value.to_owned());
        self
    }

    /// Puts another decision into the function.
    pub(crate) fn deciding(mut self, decide: Decide) -> Self {
        self.decide = decide;
        self
    }

    /// Puts another first question of the looks into it.
    pub(crate) fn looking(mut self, wants: Wants) -> Self {
        self.wants = wants;
        self
    }

    /// Something befalls a host (by its index) so long after the start.
    pub(crate) fn befalls(self, host: usize, after: Millis, incident: Incident) -> Self {
        self.with(|scenario| scenario.incidents.push((after, host, incident)))
    }

    /// The group replaces these hosts, all at once, at the start.
    pub(crate) fn replaces(self, hosts: impl IntoIterator<Item = usize>) -> Self {
        hosts.into_iter().fold(self, |flow, host| flow.befalls(host, 0, Incident::Replace))
    }

    /// Somebody changes the world so long after the start.
    pub(crate) fn at(
        mut self,
        after: Millis,
        change: impl FnOnce(&mut World, &Place) + 'static,
    ) -> Self {
        self.moments.push((after, Box::new(change)));
        self
    }

    /// All calls in a scope fail this way from one time after the start to another.
    pub(crate) fn outage(self, scope: Scope, (from, to): (Millis, Millis), fault: Fault) -> Self {
        let window = Window { scope, from: START + from, to: START + to, fault };
        self.with(|scenario| scenario.faults.windows.push(window))
    }

    /// The flow ends after so long even if something still waits.
    pub(crate) fn for_at_most(mut self, longest: Millis) -> Self {
        self.longest = longest;
        self
    }

    /// The world is watched for so long after nothing waits any more.
    pub(crate) fn goes_on_for(mut self, goes_on: Millis) -> Self {
        self.goes_on = goes_on;
        self
    }

    /// Runs it, and asserts that no rule of the world was broken.
    #[track_caller]
    pub(crate) fn run(self) -> impl Future<Output = Past> {
        let caller = std::panic::Location::caller();
        async move {
            let past = self.live().await;
            let violations = past.world().violations.clone();
            assert!(violations.is_empty(), "{caller}: {violations:#?}\n{}", past.transcript());
            past
        }
    }

    async fn live(self) -> Past {
        let place = self.scenario.build();
        let deployment = self.deployment(&place);
        let Self { scenario, decide, wants, mut moments, longest, goes_on, processes, .. } = self;
        let sandbox = place.sandbox.clone();
        let processes = Rc::new(processes);
        let changed = || {
            let (processes, sandbox) = (Rc::clone(&processes), sandbox.clone());
            move |app: &mut App| {
                (app.decide, app.wants_instance) = (decide, wants);
                processes.iter().for_each(|change| change(app, &sandbox));
            }
        };
        let mut queues = vec![LIFECYCLE_QUEUE];
        let mut functions = vec![function_of(&place.sandbox, "lifecycle", &deployment, changed())];
        if self.interruptions {
            let deployment = Deployment {
                queue: INTERRUPTION_QUEUE.to_owned(),
                dead_letter: INTERRUPTION_DEAD_LETTERS.to_owned(),
                ..deployment.clone()
            };
            functions.push(function_of(&place.sandbox, "interruption", &deployment, changed()));
            queues.push(INTERRUPTION_QUEUE);
        }
        let seen = RefCell::new(Seen::begin(&place));
        let look = |world: &World| seen.borrow_mut().look(world);
        let mut lambda = Lambda::new(&place.sandbox, &functions);
        moments.sort_by_key(|(after, _)| *after);
        let last = scenario.incidents.iter().map(|(at, ..)| *at).max().unwrap_or(0);
        let last = START + moments.last().map_or(0, |(after, _)| *after).max(last);
        for (after, change) in moments {
            let stop = |world: &World| {
                look(world);
                false
            };
            lambda.drive(START + after, stop).await;
            change(&mut place.sandbox.world(), &place);
        }
        let until = START + longest;
        while place.sandbox.now() < until {
            let quiet = |world: &World| {
                look(world);
                world.now > last && is_quiet(world, &queues)
            };
            lambda.drive(until, quiet).await;
            let pause = (place.sandbox.now() + goes_on).min(until);
            let stop = |world: &World| {
                look(world);
                false
            };
            lambda.drive(pause, stop).await;
            if is_quiet(&place.sandbox.world(), &queues) {
                break;
            }
        }
        drop(lambda);
        Past { place, deployment, queues, seen: seen.into_inner() }
    }

    fn deployment(&self, place: &Place) -> Deployment {
        let fronts = self.scenario.fronts.iter().zip(&place.groups);
        let named = fronts.filter(|(front, _)| front.owner == Owner::Script);
        let named: Vec<&str> = named.map(|(_, arn)| arn.as_str()).collect();
        let mut settings = self.settings.clone();
        settings.entry("TARGET_GROUPS").or_insert_with(|| named.join(","));
        Deployment {
            policy: Policy::parse(|variable| settings.get(variable).cloned()).unwrap(),
            queue: LIFECYCLE_QUEUE.to_owned(),
            dead_letter: DEAD_LETTERS.to_owned(),
            batch: self.scenario.batch,
            concurrency: u16::try_from(self.scenario.concurrency_max).unwrap(),
        }
    }
}

/// Whether the pod of [`Flow::of_one_pod`] is on this node.
fn lone(world: &World, node: &str) -> bool {
    world.kubernetes.pods_on(node).any(|pod| pod.label("app") == Some("lone"))
}

/// Nothing of ours waits, and no message is left.
fn is_quiet(world: &World, queues: &[&str]) -> bool {
    let waits =
        world.aws.autoscaling.actions.iter().any(|action| action.ours && action.ended.is_none());
    !waits && queues.iter().all(|queue| world.aws.sqs.depth(queue) == 0)
}
