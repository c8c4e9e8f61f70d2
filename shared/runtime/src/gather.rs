//! Looks at the world for a batch: what is shared once, then each instance's own. Reads only.
//!
//! What is worth reading is `decision::looks`' to say, round by round; what is read becomes a snapshot, and a read that
//! failed becomes `Unread` in it. Nothing here decides what a fact means.
//!
//! ```text
//!   groups, hooks ─> memberships ─> EC2 ─┬─ instance: cluster, node ─> health, peers ─> pods ─> budgets … or volumes
//!      (once for the batch)              └─ instance: …
//! ```

mod aws;
mod cluster;

use crate::app::App;
use crate::message::Arrived;
use decision::id::{AsgName, InstanceId};
use decision::looks;
use decision::signal::SignalKind;
use decision::snapshot::aws::AwsView;
use decision::snapshot::cluster::ClusterView;
use decision::snapshot::{Read, Seen, Snapshot, Unread};
use decision::time::Timestamp;
use futures_util::future::join_all;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A turn's reads: for whom, at what time, until when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round<'a> {
    pub(crate) app: &'a App,
    pub(crate) now: Timestamp,
    /// No read is begun after this.
    pub(crate) until: Timestamp,
}

/// Looks at every instance that the batch speaks of.
pub async fn gather(
    app: &App,
    batch: &[Arrived],
    now: Timestamp,
    until: Timestamp,
) -> Vec<Snapshot> {
    let round = Round { app, now, until };
    let mut by_instance: BTreeMap<InstanceId, Vec<&Arrived>> = BTreeMap::new();
    for arrived in batch {
        by_instance.entry(arrived.instance().clone()).or_default().push(arrived);
    }
    let asgs: BTreeSet<AsgName> = batch.iter().map(|arrived| hook(arrived).asg.clone()).collect();
    let (groups, hooks) = futures_util::join!(aws::groups(round, &asgs), aws::hooks(round, &asgs));
    let mut snapshots: Vec<Snapshot> = by_instance
        .into_iter()
        .map(|(instance, arrived)| begin(round, instance, &arrived, (&groups, &hooks)))
        .collect();
    aws::memberships(round, &mut snapshots).await;
    aws::instances(round, &mut snapshots).await;
    let health = aws::HealthOnce::default();
    join_all(snapshots.iter_mut().map(|snapshot| look_closer(round, snapshot, &health))).await;
    snapshots
}

type Groups = BTreeMap<AsgName, Read<Option<decision::snapshot::aws::Asg>>>;
type Hooks = BTreeMap<AsgName, Read<Vec<decision::snapshot::aws::Hook>>>;

fn hook(arrived: &Arrived) -> &decision::signal::HookSignal {
    let SignalKind::Hook(hook) = &arrived.signal.kind;
    hook
}

fn not_yet<T>() -> Read<T> {
    Err(Unread::because("not read in this turn"))
}

fn begin(
    round: Round<'_>,
    instance: InstanceId,
    arrived: &[&Arrived],
    (groups, hooks): (&Groups, &Hooks),
) -> Snapshot {
    let signals = arrived
        .iter()
        .map(|arrived| {
            let signal = hook(arrived);
            let known = hooks.get(&signal.asg).cloned().unwrap_or_else(not_yet);
            let facts = known.map(|hooks| hooks.into_iter().find(|hook| hook.name == signal.hook));
            Seen {
                message: arrived.message.clone(),
                signal: arrived.signal.clone(),
                receives: arrived.receives,
                sent_at: arrived.sent_at,
                hook: facts,
            }
        })
        .collect();
    let group = arrived.first().and_then(|arrived| groups.get(&hook(arrived).asg));
    let memory = round.app.kept.memory.get(&instance, round.now).unwrap_or_default();
    Snapshot {
        now: round.now,
        instance,
        signals,
        aws: AwsView {
            membership: not_yet(),
            group: group.cloned().unwrap_or_else(not_yet),
            instance: not_yet(),
            target_groups: not_yet(),
        },
        cluster: ClusterView::NotAsked,
        memory,
    }
}

/// How long reading ahead may take. Twice: a first turn lasts as much longer. Half: a slow call was made for nothing.
const AHEAD_MAX: Duration = Duration::from_millis(400);

/// Reads ahead what the departures that begin with this turn will want in the next one, beside the cordon: what rarely
/// changes, and the health of their groups. Economy only: nothing waits for a rate limit here, and what fails is read
/// again in its own time.
pub async fn ahead(app: &App, snapshots: &[Snapshot]) {
    let now = app.clock.now();
    let round = Round { app, now, until: now + AHEAD_MAX };
    let health = aws::HealthOnce::default();
    for snapshot in snapshots {
        let groups = looks::target_groups_ahead(snapshot, &app.policy);
        if !groups.is_empty() {
            drop(aws::target_groups(round, &groups, &snapshot.instance, &health).await);
        }
        if looks::begins(snapshot, &app.policy) {
            cluster::services_ahead(round, snapshot).await;
        }
    }
}

/// One instance's own reads.
async fn look_closer(round: Round<'_>, snapshot: &mut Snapshot, health: &aws::HealthOnce) {
    if !looks::wants_instance(snapshot, &round.app.policy) {
        return;
    }
    cluster::node(round, snapshot).await;
    let groups = looks::target_groups(snapshot, &round.app.policy);
    snapshot.aws.target_groups =
        aws::target_groups(round, &groups, &snapshot.instance, health).await;
    cluster::rest(round, snapshot).await;
}
