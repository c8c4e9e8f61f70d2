//! EC2's events, each in the shape that its page documents.

use super::{EventBridge, Notice, Reliability, seconds};
use crate::aws::ec2::{SpotAction, State};
use crate::world::{Millis, World};
use serde_json::{Value, json};

/// The two shapes of a capacity reservation's interruption warning.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReservationShape {
    /// Of an interruptible reservation: `azId`, and `resources` as one text.
    Interruptible,
    /// Of a capacity block: `availability-zone-id` and `instance-lifecycle`.
    CapacityBlock,
}

/// The two names that a capacity block's expiration warning has in the documentation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BlockTitle {
    /// `Capacity Block Expiration Warning`
    Block,
    /// `Capacity Block Reservation Expiration Warning`
    Reservation,
}

impl BlockTitle {
    /// The detail-type.
    pub fn name(self) -> &'static str {
        match self {
            Self::Block => "Capacity Block Expiration Warning",
            Self::Reservation => "Capacity Block Reservation Expiration Warning",
        }
    }
}

impl EventBridge {
    /// EC2 Spot Instance Interruption Warning of a termination.
    pub fn spot_warning(world: &mut World, instance: &str) {
        Self::spot_warning_of(world, instance, SpotAction::Terminate);
    }

    /// EC2 Spot Instance Interruption Warning.
    pub fn spot_warning_of(world: &mut World, instance: &str, action: SpotAction) {
        let detail = json!({ "instance-id": instance, "instance-action": action.name() });
        Self::ec2(world, "EC2 Spot Instance Interruption Warning", instance, detail);
    }

    /// EC2 Instance Rebalance Recommendation.
    pub fn rebalance(world: &mut World, instance: &str) {
        let detail = json!({ "instance-id": instance });
        Self::ec2(world, "EC2 Instance Rebalance Recommendation", instance, detail);
    }

    /// EC2 Instance State-change Notification. The instance need not exist: an account has many others.
    pub fn state_change(world: &mut World, instance: &str, state: State) {
        let detail = json!({ "instance-id": instance, "state": state.name() });
        Self::ec2(world, "EC2 Instance State-change Notification", instance, detail);
    }

    /// EC2 Capacity Reservation Instance Interruption Warning.
    pub fn reservation_warning(
        world: &mut World,
        instance: &str,
        (shape, at): (ReservationShape, Millis),
    ) {
        let detail_type = "EC2 Capacity Reservation Instance Interruption Warning";
        let known = world.aws.ec2.instances.get(instance);
        let zone = zone_id(known.map_or("", |known| known.zone.as_str()));
        let mut detail = json!({
            "instance-id": instance,
            "instance-action": "terminate",
            "instance-termination-time": seconds(at),
        });
        let resources = vec![Self::instance_arn(world, instance)];
        match shape {
            ReservationShape::Interruptible => detail["azId"] = zone.into(),
            ReservationShape::CapacityBlock => {
                detail["availability-zone-id"] = zone.into();
                detail["instance-lifecycle"] = "capacity-block".into();
            }
        }
        let notice = Notice { source: "aws.ec2", detail_type, resources, detail };
        let mut body = Self::envelope_value(world, &notice);
        if shape == ReservationShape::Interruptible {
            body["resources"] = body["resources"][0].take();
        }
        Self::route(world, detail_type, body.to_string(), Reliability::BestEffort);
    }

    /// The warning that a capacity block is about to end, in one of its names.
    pub fn block_expiration(
        world: &mut World,
        reservation: &str,
        (title, end): (BlockTitle, Millis),
    ) {
        let (region, account) = (&world.aws.region, &world.aws.account);
        let arn = format!("arn:aws:ec2:{region}:{account}:capacity-reservation/{reservation}");
        let detail = json!({ "capacity-reservation-id": reservation, "end-date": seconds(end) });
        let (source, detail_type, resources) = ("aws.ec2", title.name(), vec![arn]);
        Self::emit(world, &Notice { source, detail_type, resources, detail });
    }

    fn ec2(world: &mut World, detail_type: &str, instance: &str, detail: Value) {
        let resources = vec![Self::instance_arn(world, instance)];
        Self::emit(world, &Notice { source: "aws.ec2", detail_type, resources, detail });
    }
}

/// `euw1-az2` for `eu-west-1b`.
fn zone_id(zone: &str) -> String {
    let mut parts = zone.split('-');
    let (area, side) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let last = parts.next().unwrap_or_default();
    let number = last.trim_end_matches(|letter: char| letter.is_ascii_lowercase());
    let letter = last.bytes().last().unwrap_or(b'a').saturating_sub(b'a') + 1;
    let side = side.chars().next().unwrap_or('x');
    format!("{area}{side}{number}-az{letter}")
}
