//! Instances: their states, and when a host really dies.
//!
//! ```text
//!   pending ─> running ──> shutting-down ─> terminated
//!                │ ^  └──> stopping ─> stopped ─> pending
//!                └─┘ reboot: the state stays, the host is away, and a new boot begins
//! ```
//! A host dies a moment after its instance was told to go, long before EC2 says `terminated`.

pub mod api;
mod interruption;

pub use interruption::{Ended, SpotAction};

use super::AwsEvent;
use super::autoscaling::Autoscaling;
use super::elbv2::Elb;
use super::events::EventBridge;
use crate::kubernetes::{InstanceBirth, Kubernetes, Stop};
use crate::measure;
use crate::world::{Event, Millis, World};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// The state of an instance.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// It starts.
    Pending,
    /// It runs, or reboots.
    Running,
    /// It was terminated, and will be gone.
    ShuttingDown,
    /// It is gone; EC2 still shows it for a while.
    Terminated,
    /// It was stopped, and will be still.
    Stopping,
    /// It can be started again.
    Stopped,
}

impl State {
    /// EC2's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::ShuttingDown => "shutting-down",
            Self::Terminated => "terminated",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }

    /// EC2's number.
    pub fn code(self) -> u16 {
        match self {
            Self::Pending => 0,
            Self::Running => 16,
            Self::ShuttingDown => 32,
            Self::Terminated => 48,
            Self::Stopping => 64,
            Self::Stopped => 80,
        }
    }
}

/// How an instance was bought.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Purchase {
    /// For as long as it is wanted.
    #[default]
    OnDemand,
    /// For as long as nobody else wants it.
    Spot,
}

/// Something that is announced for an instance, as DescribeInstanceStatus shows it.
#[derive(Clone, Debug)]
pub struct Scheduled {
    /// `instance-event-…`
    pub id: String,
    /// `instance-reboot`, `system-reboot`, `system-maintenance`, `instance-retirement`, `instance-stop`.
    pub code: &'static str,
    /// Its sentence; begins with `[Completed]` or `[Canceled]` when it is over.
    pub description: String,
    /// When it begins.
    pub not_before: Millis,
    /// When it is over at the latest, where EC2 says so.
    pub not_after: Option<Millis>,
}

impl Scheduled {
    /// Whether it is done, or was called off.
    pub fn is_over(&self) -> bool {
        self.description.starts_with('[')
    }
}

/// An instance.
#[derive(Clone, Debug)]
pub struct Instance {
    /// `i-…`
    pub id: String,
    /// Its state, as DescribeInstances shows it.
    pub state: State,
    /// Whether its host runs right now: false while it boots, and from the moment it dies.
    pub up: bool,
    /// How often it was booted; the node's bootID changes with it.
    pub boot: u32,
    /// `ip-10-0-1-2.eu-central-1.compute.internal`, which is also the node's name.
    pub private_dns: String,
    /// Its private address.
    pub private_ip: String,
    /// The Availability Zone.
    pub zone: String,
    /// When it was launched (or started last).
    pub launched_at: Millis,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// How it was bought.
    pub purchase: Purchase,
    /// Why it is in this state, as `stateReason.code`; empty while it runs.
    pub reason: &'static str,
    /// The capacity reservation that it runs in.
    pub capacity_reservation: Option<String>,
    /// Events that are (or were) announced for it.
    pub scheduled: Vec<Scheduled>,
    /// When EC2 will take it back, once it has said so.
    pub reclaimed_at: Option<Millis>,
    /// What Spot does when it takes it back.
    pub spot_action: SpotAction,
    /// When EC2 said `terminated`: it is shown for another hour.
    pub terminated_at: Option<Millis>,
    /// Whether EC2's own status checks fail although it runs.
    pub impaired: bool,
}

/// How long things take.
#[derive(Clone, Debug)]
pub struct Timing {
    /// From launch (or start) to running.
    pub pending_ms: RangeInclusive<Millis>,
    /// From the end of an instance to the death of its host.
    pub dying_ms: RangeInclusive<Millis>,
    /// The same when somebody stops or terminates a running instance by hand: its system shuts down first.
    pub shutdown_ms: RangeInclusive<Millis>,
    /// From the death of a host to `terminated` or `stopped`.
    pub ending_ms: RangeInclusive<Millis>,
    /// How long a host is away while it reboots.
    pub reboot_ms: RangeInclusive<Millis>,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            pending_ms: 8_000..=20_000,
            dying_ms: 0..=2_000,
            shutdown_ms: 3_000..=12_000,
            ending_ms: 20_000..=60_000,
            reboot_ms: 20_000..=40_000,
        }
    }
}

/// All instances.
#[derive(Clone, Debug, Default)]
pub struct Ec2 {
    /// Instances by id.
    pub instances: BTreeMap<String, Instance>,
    /// How long things take.
    pub timing: Timing,
    launched: u32,
}

/// An instance's next act; `boot` tells a late one from a current one.
#[derive(Clone, Debug)]
pub enum Step {
    /// The host is there.
    Running {
        /// The instance.
        instance: String,
        /// The boot that ends so.
        boot: u32,
    },
    /// The host dies.
    HostDies {
        /// The instance.
        instance: String,
        /// The boot that ends so.
        boot: u32,
    },
    /// EC2 says `terminated`, or `stopped`.
    Ended {
        /// The instance.
        instance: String,
        /// The boot that ended.
        boot: u32,
    },
    /// EC2 does what it announced.
    Due(interruption::Due),
}

impl Ec2 {
    /// Whether the host of `instance` runs right now.
    pub fn is_up(&self, instance: &str) -> bool {
        self.instances.get(instance).is_some_and(|instance| instance.up)
    }

    /// The state of `instance`, if EC2 knows it.
    pub fn state(&self, instance: &str) -> Option<State> {
        self.instances.get(instance).map(|instance| instance.state)
    }

    /// Adds an instance that already runs. Its node is the cluster's affair: nothing boots here.
    pub fn add(world: &mut World, id: &str, zone: &str) {
        let mut instance = Self::new_instance(world, id.to_owned(), zone);
        instance.state = State::Running;
        instance.up = true;
        world.aws.ec2.instances.insert(id.to_owned(), instance);
        world.traffic.touch_instance(id);
    }

    /// Launches an instance and returns its id.
    pub fn launch(world: &mut World, zone: &str) -> String {
        let id = format!("i-{:017x}", world.rng.u64(..) >> 4);
        let instance = Self::new_instance(world, id.clone(), zone);
        world.aws.ec2.instances.insert(id.clone(), instance);
        Self::boot(world, &id);
        id
    }

    /// Ends an instance; nothing happens to one that is ending already.
    pub fn terminate(world: &mut World, id: &str, reason: &'static str) {
        match world.aws.ec2.state(id) {
            Some(State::Pending | State::Running | State::Stopping | State::Stopped) => {}
            Some(State::ShuttingDown | State::Terminated) | None => return,
        }
        let dying = world.aws.ec2.timing.dying_ms.clone();
        Self::end(world, id, (State::ShuttingDown, dying), reason);
    }

    /// Stops an instance.
    pub fn stop(world: &mut World, id: &str, reason: &'static str) {
        if let Some(State::Pending | State::Running) = world.aws.ec2.state(id) {
            let dying = world.aws.ec2.timing.dying_ms.clone();
            Self::end(world, id, (State::Stopping, dying), reason);
        }
    }

    /// Starts a stopped instance: the same id and address, a new boot.
    pub fn start(world: &mut World, id: &str) {
        let now = world.now;
        let Some(instance) = world.aws.ec2.instances.get_mut(id) else { return };
        if instance.state == State::Stopped {
            instance.state = State::Pending;
            instance.reason = "";
            instance.launched_at = now;
            instance.reclaimed_at = None;
            instance.boot += 1;
            Self::boot(world, id);
        }
    }

    /// Reboots a host (a new root volume, or just so): it is away for a while, its state stays `running`.
    pub fn reboot(world: &mut World, id: &str) {
        let delay = world.rng.i64(world.aws.ec2.timing.reboot_ms.clone());
        let Some(instance) = world.aws.ec2.instances.get_mut(id) else { return };
        if instance.state != State::Running {
            return;
        }
        instance.boot += 1;
        let step = Step::Running { instance: id.to_owned(), boot: instance.boot };
        Self::host_down(world, id, Stop::Rebooted);
        world.after(delay, Event::Aws(AwsEvent::Ec2(step)));
    }

    /// The host dies on its own (hardware, kernel), while EC2 still says `running`; status checks fail.
    pub fn crash(world: &mut World, id: &str) {
        if let Some(instance) = world.aws.ec2.instances.get_mut(id) {
            instance.impaired = true;
        }
        Self::host_down(world, id, Stop::Stopped);
        Autoscaling::host_lost(world, id);
    }

    pub(crate) fn happen(world: &mut World, step: &Step) {
        let (instance, boot) = match step {
            Step::Running { instance, boot }
            | Step::HostDies { instance, boot }
            | Step::Ended { instance, boot } => (instance, boot),
            Step::Due(due) => return due.happen(world),
        };
        let Some(known) = world.aws.ec2.instances.get(instance) else { return };
        if known.boot != *boot {
            return;
        }
        let state = known.state;
        match (step, state) {
            (Step::Running { .. }, State::Pending | State::Running) => {
                Self::host_up(world, instance, state);
            }
            (Step::HostDies { .. }, State::ShuttingDown) => {
                Self::host_down(world, instance, Stop::Terminated);
            }
            (Step::HostDies { .. }, State::Stopping) => {
                Self::host_down(world, instance, Stop::Stopped);
            }
            (Step::Ended { .. }, State::ShuttingDown) => {
                Self::turn(world, instance, State::Terminated);
            }
            (Step::Ended { .. }, State::Stopping) => Self::turn(world, instance, State::Stopped),
            // The instance went another way meanwhile.
            _ => {}
        }
    }

    fn new_instance(world: &mut World, id: String, zone: &str) -> Instance {
        let ec2 = &mut world.aws.ec2;
        ec2.launched += 1;
        let [_, _, third, fourth] = ec2.launched.to_be_bytes();
        let private_ip = format!("10.0.{third}.{fourth}");
        Instance {
            id,
            state: State::Pending,
            up: false,
            boot: 1,
            private_dns: format!("ip-10-0-{third}-{fourth}.{}.compute.internal", world.aws.region),
            private_ip,
            zone: zone.to_owned(),
            launched_at: world.now,
            tags: BTreeMap::new(),
            purchase: Purchase::OnDemand,
            reason: "",
            capacity_reservation: None,
            scheduled: Vec::new(),
            reclaimed_at: None,
            spot_action: SpotAction::Terminate,
            terminated_at: None,
            impaired: false,
        }
    }

    fn boot(world: &mut World, id: &str) {
        let Some(instance) = world.aws.ec2.instances.get(id) else { return };
        let step = Step::Running { instance: id.to_owned(), boot: instance.boot };
        let delay = world.rng.i64(world.aws.ec2.timing.pending_ms.clone());
        EventBridge::state_change(world, id, State::Pending);
        world.after(delay, Event::Aws(AwsEvent::Ec2(step)));
    }

    /// Enters a state that ends in the death of the host, so long after it.
    fn end(
        world: &mut World,
        id: &str,
        (state, dying): (State, RangeInclusive<Millis>),
        reason: &'static str,
    ) {
        let dies = world.rng.i64(dying);
        let ends = dies + world.rng.i64(world.aws.ec2.timing.ending_ms.clone());
        let Some(instance) = world.aws.ec2.instances.get_mut(id) else { return };
        instance.reason = reason;
        let boot = instance.boot;
        let instance = id.to_owned();
        Self::turn(world, id, state);
        let step = Step::HostDies { instance: instance.clone(), boot };
        world.after(dies, Event::Aws(AwsEvent::Ec2(step)));
        world.after(ends, Event::Aws(AwsEvent::Ec2(Step::Ended { instance, boot })));
    }

    fn host_up(world: &mut World, id: &str, before: State) {
        let Some(instance) = world.aws.ec2.instances.get_mut(id) else { return };
        instance.up = true;
        instance.impaired = false;
        let birth = InstanceBirth {
            instance: id.to_owned(),
            private_dns: instance.private_dns.clone(),
            zone: instance.zone.clone(),
            boot: instance.boot,
        };
        let cluster = cluster_of(instance);
        world.traffic.touch_instance(id);
        world.in_cluster(&cluster, |world| Kubernetes::instance_started(world, &birth));
        Elb::host_changed(world, id);
        if before == State::Pending {
            Self::turn(world, id, State::Running);
        } else {
            Autoscaling::rebooted(world, id);
        }
    }

    fn host_down(world: &mut World, id: &str, stop: Stop) {
        let Some(instance) = world.aws.ec2.instances.get_mut(id) else { return };
        if std::mem::replace(&mut instance.up, false) {
            let cluster = cluster_of(instance);
            world.traffic.touch_instance(id);
            world.in_cluster(&cluster, |world| Kubernetes::instance_stopped(world, id, stop));
            Elb::host_changed(world, id);
            measure::died(world, id);
        }
    }

    /// Enters `state` and tells everybody who follows it.
    fn turn(world: &mut World, id: &str, state: State) {
        let Some(instance) = world.aws.ec2.instances.get_mut(id) else { return };
        instance.state = state;
        instance.terminated_at = (state == State::Terminated).then_some(world.now);
        EventBridge::state_change(world, id, state);
        Elb::instance_changed(world, id, state);
        Autoscaling::instance_changed(world, id, state);
    }
}

/// The cluster whose node an instance is, by its tag.
fn cluster_of(instance: &Instance) -> String {
    let tags = instance.tags.keys();
    let mut names = tags.filter_map(|key| key.strip_prefix("kubernetes.io/cluster/"));
    names.next().unwrap_or_default().to_owned()
}
