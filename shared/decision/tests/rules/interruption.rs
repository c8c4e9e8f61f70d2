//! Everything that AWS says about an instance besides lifecycle hooks: what each kind leads to, by when, and how it ends.

mod admission;
mod course;
mod input;
mod maintenance;
mod merging;
mod recommendation;
mod state;
mod text;

use crate::world::{
    SENT, after, answer, cordoned, id, instance, node, node_mut, peer, record, signalled_out,
    steps, view_mut,
};
use decision::annotation::{Contributor, Departure};
use decision::decide::decide;
use decision::pace::look;
use decision::policy::Policy;
use decision::signal::{Cause, Due, Interruption, Maintenance, SignalKind, SpotAction, Urgency};
use decision::snapshot::aws::{InstanceState, LifecycleState, Membership};
use decision::snapshot::{Seen, Snapshot, Unread};
use decision::time::Timestamp;

const CORDON: &str = "cordon node ip-10-0-3-1.ec2.internal";
const RECORD: &str = "record node ip-10-0-3-1.ec2.internal";
const UNDO: &str = "undo node ip-10-0-3-1.ec2.internal";
const DEPARTING: &str = "Event Departing";
const DEREGISTER: &str = "deregister web: i-00000000000000001:30080";

/// `eventArn` of the scheduled change of most tests.
const EVENT: &str = "arn:aws:health:eu-central-1::event/EC2/AWS_EC2_X/0123456789";

/// One kind of interruption.
struct Kind {
    name: &'static str,
    /// What AWS said.
    said: fn() -> Interruption,
    /// When AWS acts, in seconds after the signal.
    hard: Option<u64>,
}

/// Every kind that takes its instance out of service.
const KINDS: [Kind; 12] = [
    Kind { name: "Spot terminate", said: || spot(SpotAction::Terminate), hard: Some(120) },
    Kind { name: "Spot stop", said: || spot(SpotAction::Stop), hard: Some(120) },
    Kind { name: "Spot hibernate", said: || spot(SpotAction::Hibernate), hard: Some(0) },
    Kind {
        name: "Spot, unknown action",
        said: || spot(SpotAction::Unknown("evaporate".to_owned())),
        hard: Some(120),
    },
    Kind { name: "rebalance", said: rebalance, hard: None },
    Kind { name: "capacity reservation", said: capacity_reservation, hard: Some(90) },
    Kind { name: "capacity block", said: capacity_block, hard: Some(600) },
    Kind {
        name: "maintenance at once",
        said: || maintenance(Urgency::AtOnce, Due::At(after(86_400))),
        hard: Some(86_400),
    },
    Kind {
        name: "maintenance at once, no time",
        said: || maintenance(Urgency::AtOnce, Due::Unknown),
        hard: None,
    },
    Kind {
        name: "maintenance at start",
        said: || maintenance(Urgency::AtStart, Due::At(after(1_800))),
        hard: Some(1_800),
    },
    Kind { name: "stopping", said: || state(InstanceState::Stopping), hard: Some(0) },
    Kind { name: "shutting down", said: || state(InstanceState::ShuttingDown), hard: Some(0) },
];

fn spot(action: SpotAction) -> Interruption {
    let notice = if action == SpotAction::Hibernate { 0 } else { 120 };
    Interruption { cause: Cause::Spot(action), due: Due::After(crate::world::secs(notice)) }
}

/// The most common of all: two minutes, then it is terminated.
pub(crate) fn two_minutes() -> Interruption {
    spot(SpotAction::Terminate)
}

fn rebalance() -> Interruption {
    Interruption { cause: Cause::Rebalance, due: Due::Unknown }
}

fn capacity_reservation() -> Interruption {
    Interruption { cause: Cause::CapacityReservation, due: Due::At(after(90)) }
}

fn capacity_block() -> Interruption {
    Interruption { cause: Cause::CapacityBlock, due: Due::At(after(600)) }
}

fn maintenance(urgency: Urgency, due: Due) -> Interruption {
    let maintenance = Maintenance {
        arn: EVENT.to_owned(),
        code: "AWS_EC2_INSTANCE_STOP_SCHEDULED".to_owned(),
        urgency,
        closed: false,
    };
    Interruption { cause: Cause::Maintenance(maintenance), due }
}

/// The end of the same scheduled change.
fn closed() -> Interruption {
    let mut said = maintenance(Urgency::AtStart, Due::At(after(1_800)));
    if let Cause::Maintenance(maintenance) = &mut said.cause {
        maintenance.closed = true;
    }
    said
}

fn state(state: InstanceState) -> Interruption {
    let due = if state == InstanceState::Running {
        Due::Unknown
    } else {
        Due::After(std::time::Duration::ZERO)
    };
    Interruption { cause: Cause::State(state), due }
}

/// The message that says so.
fn seen(said: Interruption) -> Seen {
    let hook = signalled_out().signals.remove(0);
    let mut seen = Seen { message: "warning-1".to_owned(), hook: Ok(None), ..hook };
    seen.signal.kind = SignalKind::Interruption(said);
    seen
}

/// An interruption of an instance in service, two seconds old, and a node as it was before we touched it.
pub(crate) fn interrupted(said: Interruption) -> Snapshot {
    let mut snapshot = signalled_out();
    snapshot.signals = vec![seen(said)];
    let state = LifecycleState::InService;
    snapshot.aws.membership = Ok(Some(Membership { asg: id("workers"), state }));
    snapshot.aws.is_scheduled = Ok(true);
    snapshot
}

/// The interruption's part in a record.
fn part(said: &Interruption) -> Contributor {
    Contributor { by: said.cause.label().to_owned(), token: said.key(), hard: said.hard(SENT) }
}

/// The record of a departure for this alone, whose place in the order has settled.
fn recorded(said: &Interruption) -> Departure {
    Departure { because: vec![part(said)], ..record(1) }
}

/// The same departure ten seconds on: our cordon and record are on the node.
pub(crate) fn leaving(said: Interruption) -> Snapshot {
    let own = recorded(&said);
    let mut snapshot = interrupted(said);
    snapshot.now = after(10);
    marked(&mut snapshot, &own);
    snapshot
}

/// Puts our cordon and this record on the node.
fn marked(snapshot: &mut Snapshot, own: &Departure) {
    assert_eq!(own.instance, instance(1), "the node is this instance's");
    *node_mut(snapshot) = cordoned(node(), own);
    view_mut(snapshot).peers = Ok(vec![peer(own)].into());
}

/// The instance in another state, as EC2 shows it.
fn shown(snapshot: &mut Snapshot, state: InstanceState) {
    snapshot.aws.instance.as_mut().expect("read").as_mut().expect("known").state = state;
}

fn unread() -> Unread {
    Unread::because("throttled")
}

#[track_caller]
fn check(name: &str, snapshot: &Snapshot, policy: &Policy, expected: (&[&str], &str)) {
    let decision = decide(snapshot, policy);
    assert_eq!(
        (steps(&decision), answer(&decision, snapshot.now)),
        (expected.0.iter().map(|step| (*step).to_owned()).collect(), expected.1.to_owned()),
        "{name}"
    );
}

/// Again at the usual pace of a departure that nobody holds.
fn usual(now: Timestamp) -> String {
    format!("again in {} ms", look(now, SENT, None).since(now).as_millis())
}
