//! What one process of a function has: clients, limits, and what it keeps between invocations.
//!
//! Built once, borrowed by every invocation. Everything kept here is economy: a process that starts with nothing must
//! decide the same.

use crate::breaker::Breakers;
use crate::cache::Cache;
use crate::clock::Clock;
use crate::config::Queues;
use crate::connect::Dialed;
use crate::denied::Denied;
use crate::gather::Scan;
use crate::limiter::Limits;
use crate::once::Once;
use cloud::Clients;
use cloud::eks::ClusterAccess;
use cloud::elbv2::GroupFacts;
use cluster::ClusterError;
use decision::decide::decide;
use decision::decision::Decision;
use decision::id::{AsgName, ClusterName, InstanceId, NodeName, PodKey, TargetGroupArn};
use decision::limits::HEALTH_FRESH;
use decision::looks::wants_instance;
use decision::policy::Policy;
use decision::scope::Foreign;
use decision::snapshot::aws::{Asg, Hook, Instance, Membership, Targets};
use decision::snapshot::cluster::Service;
use decision::snapshot::departing::Peers;
use decision::snapshot::{Memory, Snapshot};
use decision::time::Timestamp;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How many instances a process remembers. A thousand signals over twenty processes is fifty each; twice that many
/// again after a storm of duplicates.
const REMEMBERED_MAX: usize = 256;

/// How long a list of many departing nodes is remembered as a storm. Half: a function with little to do forgets it between
/// two looks. Twice: the first departure after a storm is looked at more rarely for another minute.
pub(crate) const CROWD_LASTS: Duration = Duration::from_secs(60);

/// How many EC2 instances a process remembers, some with it that only others work on: a storm of a thousand, and as many
/// foreign ones. Half: a thousand push each other out. Twice: two megabytes more at the most.
const INSTANCES_MAX: usize = 2_000;

/// How many instances a process remembers as not ours: an account's whole stream of EC2 events comes by. Twice: a megabyte
/// more. Half: a large account's instances are looked up again and again.
const FOREIGN_MAX: usize = 10_000;

/// Makes a client for a cluster: over TLS in production, in process for the sandbox.
pub type Dial = Arc<dyn Fn(&ClusterAccess) -> Result<kube::Client, ClusterError> + Send + Sync>;

/// Decides about one instance: `decision::decide::decide`.
pub type Decide = fn(&Snapshot, &Policy) -> Decision;

/// Whether an instance is worth a closer look: `decision::looks::wants_instance`.
pub type Wants = fn(&Snapshot, &Policy) -> bool;

/// One process of a function.
pub struct App {
    /// Wall time, and tokio's.
    pub clock: Clock,
    /// What the operator wants.
    pub policy: Policy,
    /// Our queue; without one, only bare events can be handled.
    pub queues: Option<Queues>,
    /// AWS.
    pub aws: Clients,
    /// This process's part of the account's budgets.
    pub limits: Limits,
    /// How clusters are reached.
    pub dial: Dial,
    /// The decision. Tests put a broken one here, to show that the worlds notice.
    pub decide: Decide,
    /// The first question of the looks. Tests put a broken one here, to show that only its own instance suffers.
    pub wants_instance: Wants,
    /// The event bus that hears of our departures; `None`: nobody does.
    pub event_bus: Option<String>,
    /// As which function metrics are printed; `None`: not at all.
    pub metrics: Option<crate::metric::Function>,
    pub(crate) kept: Kept,
}

/// What a process keeps between turns and invocations.
pub(crate) struct Kept {
    pub(crate) groups: Cache<AsgName, Option<Asg>>,
    pub(crate) hooks: Cache<AsgName, Vec<Hook>>,
    pub(crate) memberships: Cache<InstanceId, Membership>,
    pub(crate) instances: Cache<InstanceId, Instance>,
    pub(crate) facts: Cache<TargetGroupArn, GroupFacts>,
    pub(crate) health: Cache<TargetGroupArn, (Timestamp, Targets)>,
    pub(crate) services: Cache<ClusterName, Vec<Service>>,
    pub(crate) peers: Cache<ClusterName, Peers>,
    pub(crate) nodes: Cache<InstanceId, NodeName>,
    pub(crate) scanned: Cache<ClusterName, Scan>,
    pub(crate) clients: Cache<ClusterName, kube::Client>,
    pub(crate) dialing: Once<ClusterName, Dialed>,
    pub(crate) delays: Cache<TargetGroupArn, Duration>,
    pub(crate) breakers: Breakers,
    pub(crate) pauses: Cache<(ClusterName, PodKey), Duration>,
    pub(crate) memory: Cache<InstanceId, Memory>,
    pub(crate) panicked: Cache<InstanceId, Timestamp>,
    pub(crate) foreign: Cache<InstanceId, Foreign>,
    pub(crate) denied: Denied,
}

/// How long what is read stays good, each with the staleness that it allows.
mod keeps {
    use std::time::Duration;

    /// Tags, attached groups and hooks of an ASG: changed by people, who wait a minute.
    pub(super) const GROUP: Duration = Duration::from_secs(60);
    /// EC2's state of an instance whose host is up. That it is not any more is seen a minute late, by which time nothing
    /// on it can be saved; half, and each look of a long wait costs a call more.
    pub(super) const INSTANCE: Duration = Duration::from_secs(60);
    /// Lifecycle states: a turn may act on a state this old; nothing that we do within it is wrong for an
    /// instance that went on to the next state.
    pub(super) const STATE: Duration = Duration::from_secs(20);
    /// Kind and deregistration delay of a target group: configuration.
    pub(super) const FACTS: Duration = Duration::from_secs(300);
    /// Health of a group: gather's rules say for what a health of which age is good.
    pub(super) const HEALTH: Duration = Duration::from_secs(300);
    /// Services without their endpoints: configuration.
    pub(super) const SERVICES: Duration = Duration::from_secs(30);
    /// Names of nodes: verified at each use.
    pub(super) const NODE: Duration = Duration::from_secs(3600);
    /// One whole list of nodes in a minute, when a name can't be guessed.
    pub(super) const SCAN: Duration = Duration::from_secs(60);
    /// Endpoint and CA of a cluster: dropped earlier when TLS fails.
    pub(super) const CLIENT: Duration = Duration::from_secs(3600);
    /// That an instance is not ours. Half: the account's other instances are looked up twice as often. Twice: a group that
    /// is put into our care is heard of twenty minutes later.
    pub(super) const FOREIGN: Duration = Duration::from_secs(600);
    /// That evictions under a budget collide: as long as a storm's next look may be away.
    pub(super) const PAUSE: Duration = Duration::from_secs(30);
    /// What was learned about an instance by acting.
    pub(super) const MEMORY: Duration = Duration::from_secs(3600);
}

impl Kept {
    fn new() -> Self {
        Self {
            groups: Cache::bounded(REMEMBERED_MAX, keeps::GROUP),
            hooks: Cache::bounded(REMEMBERED_MAX, keeps::GROUP),
            memberships: Cache::bounded(REMEMBERED_MAX, keeps::STATE),
            instances: Cache::bounded(INSTANCES_MAX, keeps::INSTANCE),
            facts: Cache::bounded(REMEMBERED_MAX, keeps::FACTS),
            health: Cache::bounded(REMEMBERED_MAX, keeps::HEALTH),
            services: Cache::bounded(REMEMBERED_MAX, keeps::SERVICES),
            peers: Cache::bounded(REMEMBERED_MAX, HEALTH_FRESH / 2),
            nodes: Cache::bounded(REMEMBERED_MAX, keeps::NODE),
            scanned: Cache::bounded(REMEMBERED_MAX, keeps::SCAN),
            clients: Cache::bounded(REMEMBERED_MAX, keeps::CLIENT),
            dialing: Once::default(),
            delays: Cache::bounded(REMEMBERED_MAX, keeps::FACTS),
            breakers: Breakers::default(),
            pauses: Cache::bounded(REMEMBERED_MAX, keeps::PAUSE),
            memory: Cache::bounded(REMEMBERED_MAX, keeps::MEMORY),
            panicked: Cache::bounded(REMEMBERED_MAX, keeps::MEMORY),
            foreign: Cache::bounded(FOREIGN_MAX, keeps::FOREIGN),
            denied: Denied::default(),
        }
    }
}

impl App {
    /// A process that remembers nothing yet.
    pub fn new(
        clock: Clock,
        policy: Policy,
        queues: Option<Queues>,
        (aws, limits): (Clients, Limits),
        dial: Dial,
    ) -> Self {
        Self {
            clock,
            policy,
            queues,
            aws,
            limits,
            dial,
            decide,
            wants_instance,
            event_bus: None,
            metrics: None,
            kept: Kept::new(),
        }
    }

    /// Tells the limits of AWS how many others are at work, by the departing nodes and the target groups as they were read
    /// last.
    pub(crate) fn note_busy(&self, now: Timestamp) {
        let departing = self.kept.peers.all_within(now, CROWD_LASTS);
        let count = departing.iter().map(|peers| peers.len()).sum();
        if count == 0 {
            // Where nothing is written, nobody is listed: that is no sign of being alone.
            return;
        }
        let groups = self.kept.health.all_within(now, keeps::HEALTH);
        // Until all that are named were read, any of them may have targets that are still to leave.
        let known = groups.len() >= self.policy.target_groups.len().max(1);
        let ids = || departing.iter().flat_map(|peers| peers.records().keys());
        let is_in = |id: &&InstanceId| {
            groups.iter().any(|(_, targets)| targets.living().contains(id.as_str()))
        };
        let registered = if known { ids().filter(is_in).count() } else { count };
        self.limits.busy(count, registered);
    }
}

impl fmt::Debug for App {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("App")
            .field("policy", &self.policy)
            .field("queues", &self.queues)
            .finish_non_exhaustive()
    }
}
