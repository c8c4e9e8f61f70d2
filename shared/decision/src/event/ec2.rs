//! What EC2 says about its instances: interruptions ahead, and state-changes that have begun.
//!
//! ```text
//! EC2 Spot Instance Interruption Warning                   2 min; hibernate: none
//! EC2 Instance Rebalance Recommendation                    nobody says when, or whether
//! EC2 Capacity Reservation Instance Interruption Warning   instance-termination-time, or 2 min
//! Capacity Block [Reservation] Expiration Warning          30 min before end-date, or 10 min
//! EC2 Instance State-change Notification                   now
//! ```
//!
//! Strict about the instance and the state, lenient about times and actions: that an instance goes is known from the
//! detail-type, and a warning that is refused for its wording is a node that nobody empties.

use std::time::Duration;

use super::field::Object;
use super::{Envelope, EventError, Ignored, Parsed, ignored, instant};
use crate::id::{InstanceId, ReservationId, shorten};
use crate::signal::{Cause, Due, Interruption, Reservation, SignalKind, SpotAction};
use crate::snapshot::aws::InstanceState;

const SPOT: &str = "EC2 Spot Instance Interruption Warning";
const REBALANCE: &str = "EC2 Instance Rebalance Recommendation";
const CAPACITY_RESERVATION: &str = "EC2 Capacity Reservation Instance Interruption Warning";
/// The two names of one event: AWS's pages print the one or the other.
const CAPACITY_BLOCK: [&str; 2] =
    ["Capacity Block Expiration Warning", "Capacity Block Reservation Expiration Warning"];
const STATE_CHANGE: &str = "EC2 Instance State-change Notification";

/// From a Spot warning to the instance's end: two minutes, says EC2's guide.
const SPOT_NOTICE: Duration = Duration::from_secs(120);
/// From a capacity reservation's warning to the instance's end, where the event does not say: two minutes, as above.
const CAPACITY_NOTICE: Duration = Duration::from_secs(120);
/// A capacity block's instances begin to be terminated so long before its end.
const CAPACITY_BLOCK_EARLY: Duration = Duration::from_secs(30 * 60);
/// A capacity block's warning comes 40 minutes before its end: ten minutes before the first instance is terminated.
const CAPACITY_BLOCK_NOTICE: Duration = Duration::from_secs(10 * 60);

const STATES: &str = "pending, running, stopping, stopped, shutting-down or terminated";

/// An event of source `aws.ec2`.
pub(super) fn event(
    detail_type: &str,
    body: &Object<'_>,
    envelope: &Envelope,
) -> Result<Parsed, EventError> {
    let read = match detail_type {
        SPOT => spot,
        REBALANCE => rebalance,
        CAPACITY_RESERVATION => capacity_reservation,
        STATE_CHANGE => return state_change(&body.object("detail")?, envelope),
        name if CAPACITY_BLOCK.contains(&name) => {
            return capacity_block(&body.object("detail")?, envelope);
        }
        other => return Ok(ignored(Ignored::OtherDetailType(shorten(other)))),
    };
    let detail = body.object("detail")?;
    one(&detail, envelope, read(&detail))
}

/// The signal for the one instance that an event names.
fn one(
    detail: &Object<'_>,
    envelope: &Envelope,
    interruption: Interruption,
) -> Result<Parsed, EventError> {
    let instance = detail.id("instance-id", InstanceId::parse)?;
    let kind = SignalKind::Interruption(interruption);
    Ok(Parsed::Signals(vec![envelope.signal(instance, kind)]))
}

/// Whatever the action is, the instance goes: one that we do not know counts as `terminate`.
fn spot(detail: &Object<'_>) -> Interruption {
    let key = "instance-action";
    let action = match detail.loose(key) {
        Some("terminate") => SpotAction::Terminate,
        Some("stop") => SpotAction::Stop,
        Some("hibernate") => SpotAction::Hibernate,
        Some(other) => SpotAction::Unknown(shorten(other)),
        None if detail.is_text(key) || !detail.has(key) => SpotAction::Unknown("missing".into()),
        None => SpotAction::Unknown("no text".into()),
    };
    // Hibernation begins as soon as the warning is sent.
    let notice = if action == SpotAction::Hibernate { Duration::ZERO } else { SPOT_NOTICE };
    Interruption { cause: Cause::Spot(action), due: Due::After(notice) }
}

fn rebalance(_: &Object<'_>) -> Interruption {
    Interruption { cause: Cause::Rebalance, due: Due::Unknown }
}

/// Of an interruptible reservation (`azId`), or of a capacity block (`availability-zone-id`, `instance-lifecycle`):
/// what differs is not needed.
fn capacity_reservation(detail: &Object<'_>) -> Interruption {
    let at = instant(detail.loose("instance-termination-time"));
    Interruption {
        cause: Cause::CapacityReservation,
        due: at.map_or(Due::After(CAPACITY_NOTICE), Due::At),
    }
}

/// Names no instance: those in the reservation are to be looked up.
fn capacity_block(detail: &Object<'_>, envelope: &Envelope) -> Result<Parsed, EventError> {
    let id = detail.id("capacity-reservation-id", ReservationId::parse)?;
    let due = match instant(detail.loose("end-date")) {
        Some(end) => Due::At(end - CAPACITY_BLOCK_EARLY),
        None => Due::After(CAPACITY_BLOCK_NOTICE),
    };
    let Envelope { sent_at, account, region } = envelope.clone();
    Ok(Parsed::Reservation(Reservation { id, sent_at, account, region, due }))
}

/// A state that we do not know is an error: ignored, it would hide that instances of ours change in a new way.
fn state_change(detail: &Object<'_>, envelope: &Envelope) -> Result<Parsed, EventError> {
    let (state, due) = match detail.required("state", STATES)? {
        "pending" => return Ok(ignored(Ignored::Starting)),
        // Nothing is lost: what an earlier departure did may have to be taken back.
        "running" => (InstanceState::Running, Due::Unknown),
        "stopping" => (InstanceState::Stopping, Due::After(Duration::ZERO)),
        "stopped" => (InstanceState::Stopped, Due::After(Duration::ZERO)),
        "shutting-down" => (InstanceState::ShuttingDown, Due::After(Duration::ZERO)),
        "terminated" => (InstanceState::Terminated, Due::After(Duration::ZERO)),
        _ => return Err(detail.mismatch("state", STATES.to_owned())),
    };
    one(detail, envelope, Interruption { cause: Cause::State(state), due })
}
