//! Looks at the world for a batch: what is shared once, then each instance's own. Reads only.
//!
//! What is worth reading is `decision::looks`' to say, round by round; what is read becomes a snapshot, and a read that
//! failed becomes `Unread` in it. Nothing here decides what a fact means.
//!
//! ```text
//!   interrupted? EC2 ─> groups ─> hooks ─> memberships ─┬─ instance: cluster, node ─┬─> health, peers ─> pods ─> budgets …
//!                        (once for the batch)           └─ instance: …            ─┴─> …
//! ```
//! A cordon waits for nothing but its node: where one of a batch is owed, the others look no further in this turn. Where
//! something is to be taken off a node, EC2 is asked once more, for the whole batch and for a second at most.

mod aws;
mod cluster;

pub(crate) use cluster::Scan;

use crate::app::App;
use crate::caught::{caught, caught_in};
use crate::message::Arrived;
use crate::once::Once;
use crate::retry::Classed;
use decision::id::{AsgName, ClusterName, InstanceId, TargetGroupArn};
use decision::looks::{self, ClusterLook};
use decision::snapshot::aws::AwsView;
use decision::snapshot::cluster::ClusterView;
use decision::snapshot::{Read, Seen, Snapshot, Unread};
use decision::time::Timestamp;
use futures_util::future::FutureExt as _;
use futures_util::stream::{self, StreamExt as _};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A turn's reads: for whom, at what time, until when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round<'a> {
    pub(crate) app: &'a App,
    pub(crate) now: Timestamp,
    /// No read is begun after this.
    pub(crate) until: Timestamp,
    /// No node is waited for after this.
    pub(crate) node_until: Timestamp,
}

/// How long a node is waited for in a batch that speaks of several clusters. Twice: one that never answers holds up the
/// cordons of all others for two seconds. Half: an API server under load counts as silent.
const NODE_MAX: Duration = Duration::from_secs(1);

/// After so long a look, the node is read again before anything is decided: another function may have uncordoned it, and a
/// pod evicted from it could come right back. Twice: that may go unseen for four seconds. Half: an API server under load
/// gets one more read a look.
const NODE_FRESH_FOR: Duration = Duration::from_secs(2);

/// Instances that are looked at at once: a batch is ten messages, but one of AWS Health may name a hundred. Twice: as many
/// connections to the API server at once as a function of 128 MB has room for. Half: half of such a hundred wait for the others.
const LOOKS_IN_FLIGHT_MAX: usize = 64;

impl Round<'_> {
    /// Why something of AWS is not known; that we may not read it is said aloud.
    fn unread(self, failure: &impl Classed) -> Unread {
        self.app.kept.denied.read(None, failure);
        Unread::because(failure.why())
    }

    /// Whether an instance is worth a closer look. Asked for the whole batch, so a panic counts as no: it is met again
    /// in that instance's own look.
    fn wants_instance(self, snapshot: &Snapshot) -> bool {
        caught(|| (self.app.wants_instance)(snapshot, &self.app.policy)).unwrap_or(false)
    }

    /// Whether an instance's lifecycle state is worth reading. Asked for the whole batch too; here a panic counts as yes,
    /// since without the state its hook can't be answered.
    fn wants_membership(self, snapshot: &Snapshot) -> bool {
        caught(|| looks::wants_membership(snapshot, &self.app.policy)).unwrap_or(true)
    }
}

/// What was seen of one instance.
#[derive(Debug)]
pub struct Looked {
    /// As far as it was seen.
    pub snapshot: Snapshot,
    /// What the panic said that ended its look.
    pub panic: Option<String>,
    /// Others of the batch are cordoned first: it was looked at no further than its node.
    pub makes_way: bool,
}

/// Whom a turn is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum For {
    /// Those who are owed a cordon, if there are any in the batch, and whoever can't wait: at most one turn of a slice is like
    /// this, and a slice of a storm has one.
    CordonsFirst,
    /// The whole batch.
    All,
}

/// Looks at every instance that the batch speaks of.
pub async fn gather(
    app: &App,
    batch: &[Arrived],
    whom: For,
    (now, until): (Timestamp, Timestamp),
) -> Vec<Looked> {
    let mut round = Round { app, now, until, node_until: until };
    let mut by_instance: BTreeMap<InstanceId, Vec<&Arrived>> = BTreeMap::new();
    for arrived in batch {
        by_instance.entry(arrived.instance().clone()).or_default().push(arrived);
    }
    let mut snapshots: Vec<Snapshot> = by_instance
        .into_iter()
        .map(|(instance, arrived)| begin(round, instance, &arrived))
        .collect();
    let mut asked = aws::interrupted(round, &mut snapshots).await;
    let asgs: BTreeSet<AsgName> = snapshots.iter().filter_map(looks::asg).collect();
    let groups = aws::groups(round, &asgs).await;
    let ours = asgs.into_iter().filter(|asg| looks::wants_hooks(groups.get(asg), &app.policy));
    let hooks = aws::hooks(round, &ours.collect()).await;
    for snapshot in &mut snapshots {
        know(snapshot, (&groups, &hooks));
    }
    aws::memberships(round, &mut snapshots).await;
    asked.extend(aws::instances(round, &mut snapshots).await);
    aws::schedules(round, &mut snapshots).await;
    if clusters(round, &snapshots).len() > 1 {
        round.node_until = until.min(app.clock.now() + NODE_MAX);
    }
    let shared = Shared::default();
    let shared = &shared;
    // The oldest of them: one node whose read takes long does not make the others' any fresher.
    let found_at = app.clock.now();
    let found = snapshots.into_iter().map(|mut snapshot| {
        let found = async move {
            let found = caught_in(find(round, &mut snapshot, shared)).await;
            Looked { snapshot, panic: found.err(), makes_way: false }
        };
        found.boxed_local()
    });
    let mut found: Vec<Looked> = stream::iter(found).buffered(LOOKS_IN_FLIGHT_MAX).collect().await;
    if whom == For::CordonsFirst {
        make_way(app, &mut found);
    }
    aws::before_taking_back(round, &mut found, &asked).await;
    let looks = found.into_iter().map(|mut looked| {
        let look = async move {
            if looked.panic.is_none() && !looked.makes_way {
                let look = look_closer(round, &mut looked.snapshot, (shared, found_at));
                looked.panic = caught_in(look).await.err();
            }
            looked
        };
        look.boxed_local()
    });
    stream::iter(looks).buffered(LOOKS_IN_FLIGHT_MAX).collect().await
}

/// Where a cordon is owed, whoever wants to know more than its node makes way.
fn make_way(app: &App, found: &mut [Looked]) {
    let owed = |looked: &Looked| {
        caught(|| looks::owes_cordon(&looked.snapshot, &app.policy)).unwrap_or(false)
    };
    let owes: Vec<bool> = found.iter().map(owed).collect();
    if !owes.contains(&true) {
        return;
    }
    for (looked, owes) in found.iter_mut().zip(owes) {
        let wants = || looks::can_make_way(&looked.snapshot, &app.policy);
        looked.makes_way = !owes && looked.panic.is_none() && caught(wants).unwrap_or(false);
    }
}

/// The clusters that will be asked. A panic here is met again in the instance's own look.
fn clusters(round: Round<'_>, snapshots: &[Snapshot]) -> BTreeSet<ClusterName> {
    let asked = snapshots.iter().filter_map(|snapshot| {
        match caught(|| looks::cluster(snapshot, &round.app.policy)) {
            Ok(ClusterLook::Ask(name)) => Some(name),
            Ok(ClusterLook::No | ClusterLook::Unnamed) | Err(_) => None,
        }
    });
    asked.collect()
}

type Groups = BTreeMap<AsgName, Read<Option<decision::snapshot::aws::Asg>>>;
type Hooks = BTreeMap<AsgName, Read<Vec<decision::snapshot::aws::Hook>>>;

/// What several instances of a batch want read once.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    health: Once<TargetGroupArn, aws::Health>,
    fresh: Once<TargetGroupArn, aws::Health>,
    facts: Once<Vec<TargetGroupArn>, Read<aws::Facts>>,
    delays: Once<TargetGroupArn, Read<Option<Duration>>>,
    cluster: cluster::Shared,
}

fn not_yet<T>() -> Read<T> {
    Err(Unread::because("not read in this turn"))
}

fn begin(round: Round<'_>, instance: InstanceId, arrived: &[&Arrived]) -> Snapshot {
    let signals = arrived
        .iter()
        .map(|arrived| Seen {
            message: arrived.message.clone(),
            signal: arrived.signal.clone(),
            receives: arrived.receives,
            sent_at: arrived.sent_at,
            hook: not_yet(),
        })
        .collect();
    let memory = round.app.kept.memory.get(&instance, round.now).unwrap_or_default();
    Snapshot {
        now: round.now,
        instance,
        signals,
        aws: AwsView {
            membership: not_yet(),
            group: not_yet(),
            hooks: not_yet(),
            instance: not_yet(),
            is_scheduled: not_yet(),
            target_groups: not_yet(),
        },
        cluster: ClusterView::NotAsked,
        memory,
    }
}

/// What was read of the instance's group, and of the hook that each of its signals names.
fn know(snapshot: &mut Snapshot, (groups, hooks): (&Groups, &Hooks)) {
    let Some(asg) = looks::asg(snapshot) else { return };
    snapshot.aws.group = groups.get(&asg).cloned().unwrap_or_else(not_yet);
    snapshot.aws.hooks = hooks.get(&asg).cloned().unwrap_or_else(not_yet);
    for seen in &mut snapshot.signals {
        let Some(signal) = seen.signal.hook() else { continue };
        let known = hooks.get(&signal.asg).cloned().unwrap_or_else(not_yet);
        seen.hook = known.map(|hooks| hooks.into_iter().find(|hook| hook.name == signal.hook));
    }
}

/// How long reading ahead may take. Twice: a first turn lasts as much longer. Half: a slow call was made for nothing.
const AHEAD_MAX: Duration = Duration::from_millis(400);

/// Reads ahead what the departures that begin with this turn will want in the next one, beside the cordon: what rarely
/// changes, and the health of their groups. Economy only: nothing waits for a rate limit here, and what fails is read
/// again in its own time.
pub async fn ahead(app: &App, looked: &[Looked]) {
    let now = app.clock.now();
    let until = now + AHEAD_MAX;
    let round = Round { app, now, until, node_until: until };
    let shared = Shared::default();
    for looked in looked.iter().filter(|looked| looked.panic.is_none()) {
        // A panic here is met again, and told, in the next turn's own look.
        drop(caught_in(look_ahead(round, &looked.snapshot, &shared)).await);
    }
}

async fn look_ahead(round: Round<'_>, snapshot: &Snapshot, shared: &Shared) {
    let policy = &round.app.policy;
    let groups = looks::target_groups_ahead(snapshot, policy);
    if !groups.is_empty() {
        if aws::is_first_look(round, &groups) {
            cluster::crowd(round, snapshot, shared).await;
        }
        drop(aws::target_groups(round, &groups, snapshot, shared).await);
    }
    if looks::begins(snapshot, policy) {
        cluster::services_ahead(round, snapshot).await;
    }
}

/// One instance's node.
async fn find(round: Round<'_>, snapshot: &mut Snapshot, shared: &Shared) {
    if (round.app.wants_instance)(snapshot, &round.app.policy) {
        cluster::node(round, snapshot, shared).await;
    }
}

/// One instance's other reads.
async fn look_closer(
    round: Round<'_>,
    snapshot: &mut Snapshot,
    (shared, found_at): (&Shared, Timestamp),
) {
    if !(round.app.wants_instance)(snapshot, &round.app.policy) {
        return;
    }
    let groups = looks::target_groups(snapshot, &round.app.policy);
    if aws::is_first_look(round, &groups) {
        cluster::crowd(round, snapshot, shared).await;
    }
    snapshot.memory.crowd = cluster::crowded(round, snapshot);
    snapshot.aws.target_groups = if looks::leaves_groups_to_other(snapshot, &round.app.policy) {
        Err(Unread::because("in a storm its more urgent signal looks after its load balancers"))
    } else {
        aws::target_groups(round, &groups, snapshot, shared).await
    };
    cluster::rest(round, snapshot, shared).await;
    let is_old = round.app.clock.now() > found_at + NODE_FRESH_FOR;
    // A cordon is patched with what was read as its precondition, and nothing else follows from this look.
    if is_old && !looks::owes_cordon(snapshot, &round.app.policy) {
        cluster::node_again(round, snapshot).await;
    }
}
