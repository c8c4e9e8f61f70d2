//! One turn for a batch: look, decide, act; the answers say what each signal is to do next.

use crate::app::App;
use crate::execute::{Act, Outcomes, execute};
use crate::gather::{ahead, gather};
use crate::message::Arrived;
use decision::decide::abandon;
use decision::decision::Decision;
use decision::id::{ClusterName, InstanceId};
use decision::plan::join;
use decision::snapshot::Snapshot;
use decision::snapshot::cluster::ClusterView;
use decision::time::Timestamp;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// What is kept of a turn's time for acting. Twice: a slow read ends the turn without a step. Half: a call that takes
/// its whole timeout is cut off, and its effect is unknown.
const ACT_RESERVE: Duration = Duration::from_secs(4);

/// A turn that was made.
#[derive(Debug)]
pub struct Turn {
    /// One for each instance of the batch.
    pub decisions: Vec<Decision>,
    /// What became of them.
    pub outcomes: Outcomes,
    /// Where the instances' nodes are.
    pub clusters: BTreeMap<InstanceId, ClusterName>,
}

/// Whether another turn follows in the same invocation, for which reading ahead is worth while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// At once.
    Follows,
    /// In a later invocation: others wait for this one's place.
    Later,
}

/// Makes one turn; its calls end by `until`.
pub async fn turn(app: &App, batch: &[Arrived], until: Timestamp, next: Next) -> Turn {
    let now = app.clock.now();
    let snapshots = gather(app, batch, now, until - ACT_RESERVE).await;
    let clusters = snapshots.iter().filter_map(cluster_of).collect();
    let decisions: Vec<Decision> =
        snapshots.iter().map(|snapshot| decide_safely(app, snapshot)).collect();
    let plan = join(&decisions);
    let act = Act { app, clusters: &clusters, until };
    let ahead = async {
        if next == Next::Follows {
            ahead(app, &snapshots).await;
        }
    };
    let (outcomes, ()) = futures_util::join!(execute(act, plan), ahead);
    for decision in decisions.iter().filter(|decision| decision.report.tell_blocked) {
        act.remember_blocked(&decision.instance, now);
        tracing::warn!(
            instance = %decision.instance,
            report = decision.report.page(now, &app.policy),
            "drain blocked"
        );
    }
    Turn { decisions, outcomes, clusters }
}

fn cluster_of(snapshot: &Snapshot) -> Option<(InstanceId, ClusterName)> {
    match &snapshot.cluster {
        ClusterView::Reached { cluster, .. } => Some((snapshot.instance.clone(), cluster.clone())),
        ClusterView::NotAsked
        | ClusterView::Unnamed
        | ClusterView::Deleted(_)
        | ClusterView::Unreachable { .. } => None,
    }
}

/// A panic over one instance must not fail the batch: the first time its messages come back, the second time its hooks
/// are answered and the messages go to the dead-letter queue.
fn decide_safely(app: &App, snapshot: &Snapshot) -> Decision {
    let panic = match catch_unwind(AssertUnwindSafe(|| (app.decide)(snapshot, &app.policy))) {
        Ok(decision) => return decision,
        Err(panic) => panic,
    };
    let why = panic_text(panic.as_ref());
    let again = app.kept.panicked.get(&snapshot.instance, snapshot.now).is_some();
    app.kept.panicked.put(snapshot.instance.clone(), snapshot.now, snapshot.now);
    tracing::error!(instance = %snapshot.instance, panic = why, "deciding about this instance panicked");
    if again {
        return abandon(snapshot, &app.policy, &format!("deciding about it panicked twice: {why}"));
    }
    decision::decide::postpone(snapshot)
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
