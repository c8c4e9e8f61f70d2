//! One turn for a batch: look, decide, act; the answers say what each signal is to do next.

use crate::app::App;
use crate::caught::caught;
use crate::execute::{Act, Outcomes, execute};
use crate::gather::{For, Looked, ahead, gather};
use crate::message::Arrived;
use decision::decide::{abandon, makes_way_for_cordons, postpone};
use decision::decision::{Decision, Next as Fate};
use decision::id::{ClusterName, InstanceId};
use decision::pace::evictions_end;
use decision::plan::join;
use decision::snapshot::Snapshot;
use decision::snapshot::cluster::ClusterView;
use decision::time::Timestamp;
use std::collections::BTreeMap;
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
pub async fn turn(
    app: &App,
    batch: &[Arrived],
    until: Timestamp,
    (whom, next): (For, Next),
) -> Turn {
    let now = app.clock.now();
    let looked = gather(app, batch, whom, (now, until - ACT_RESERVE)).await;
    let clusters = looked.iter().filter_map(|looked| cluster_of(&looked.snapshot)).collect();
    let decisions: Vec<Decision> = looked.iter().map(|looked| decide_safely(app, looked)).collect();
    let plan = join(&decisions);
    let evictions_until = evictions_end(&decisions, app.clock.now());
    let evictions_until = evictions_until.map_or(until, |end| end.min(until));
    let act = Act { app, clusters: &clusters, until, evictions_until };
    let ahead = async {
        if next == Next::Follows {
            ahead(app, &looked).await;
        }
    };
    let (outcomes, ()) = futures_util::join!(execute(act, plan), ahead);
    for decision in decisions.iter().filter(|decision| decision.report.tell_blocked) {
        act.remember_blocked(&decision.instance, now);
        let report = caught(|| decision.report.page(now, &app.policy));
        let report = report.unwrap_or_else(|panic| format!("no report: {panic}"));
        tracing::warn!(instance = %decision.instance, report, "drain blocked");
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

/// A panic over one instance must not fail the batch: the first time its messages come back, the second time in
/// succession its hooks are answered and the messages go to the dead-letter queue.
fn decide_safely(app: &App, looked: &Looked) -> Decision {
    let Looked { snapshot, panic, makes_way } = looked;
    if *makes_way {
        return makes_way_for_cordons(snapshot);
    }
    let decided = match panic {
        None => caught(|| (app.decide)(snapshot, &app.policy)),
        Some(why) => Err(why.clone()),
    };
    let why = match decided {
        Ok(decision) => {
            app.kept.panicked.forget(&snapshot.instance);
            return decision;
        }
        Err(why) => why,
    };
    tracing::error!(instance = %snapshot.instance, panic = why, "deciding about this instance panicked");
    let again = app.kept.panicked.get(&snapshot.instance, snapshot.now).is_some();
    app.kept.panicked.put(snapshot.instance.clone(), snapshot.now, snapshot.now);
    if !again {
        return postpone(snapshot);
    }
    let why = format!("deciding about it panicked twice: {why}");
    caught(|| abandon(snapshot, &app.policy, &why)).unwrap_or_else(|_| buried(snapshot, &why))
}

/// Not even whether its hooks are ours can be told: they are left alone, and the messages go to the dead-letter queue.
fn buried(snapshot: &Snapshot, why: &str) -> Decision {
    let mut decision = postpone(snapshot);
    for answer in &mut decision.answers {
        answer.next = Fate::Reject { answer: None, why: why.to_owned() };
    }
    decision
}
