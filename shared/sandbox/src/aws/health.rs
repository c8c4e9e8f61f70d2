//! AWS Health: scheduled changes of EC2 instances, announced days ahead, and what becomes of them.
//!
//! Unlike EC2's own events these are durable: at least once, some twice. One change may come in several pages, from
//! a backup Region too, and name its instances bare or by ARN. A `closed` event ends it: done, or called off.

use super::ec2::{Ec2, Ended, Scheduled};
use super::events::{EventBridge, Notice};
use crate::world::{Millis, World};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A kind of scheduled change.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Maintenance {
    /// The instance is rebooted.
    InstanceReboot,
    /// The host is rebooted, and the instance with it.
    SystemReboot,
    /// The host's power is worked on; the instance reboots.
    SystemMaintenance,
    /// The instance is stopped.
    Stop,
    /// The host is retired; an instance with an instance store is terminated.
    Retirement,
    /// The host is retired; an instance with an EBS root volume is stopped.
    PersistentRetirement,
}

impl Maintenance {
    /// All kinds.
    pub const ALL: [Self; 6] = [
        Self::InstanceReboot,
        Self::SystemReboot,
        Self::SystemMaintenance,
        Self::Stop,
        Self::Retirement,
        Self::PersistentRetirement,
    ];

    /// Health's `eventTypeCode`.
    pub fn event_type_code(self) -> &'static str {
        match self {
            Self::InstanceReboot => "AWS_EC2_INSTANCE_REBOOT_MAINTENANCE_SCHEDULED",
            Self::SystemReboot => "AWS_EC2_SYSTEM_REBOOT_MAINTENANCE_SCHEDULED",
            Self::SystemMaintenance => "AWS_EC2_INSTANCE_POWER_MAINTENANCE_SCHEDULED",
            Self::Stop => "AWS_EC2_INSTANCE_STOP_SCHEDULED",
            Self::Retirement => "AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED",
            Self::PersistentRetirement => "AWS_EC2_PERSISTENT_INSTANCE_RETIREMENT_SCHEDULED",
        }
    }

    /// The `code` in DescribeInstanceStatus.
    pub fn status_code(self) -> &'static str {
        match self {
            Self::InstanceReboot => "instance-reboot",
            Self::SystemReboot => "system-reboot",
            Self::SystemMaintenance => "system-maintenance",
            Self::Stop => "instance-stop",
            Self::Retirement | Self::PersistentRetirement => "instance-retirement",
        }
    }

    fn ends(self) -> Ended {
        match self {
            Self::InstanceReboot | Self::SystemReboot | Self::SystemMaintenance => Ended::Rebooted,
            Self::Stop | Self::PersistentRetirement => Ended::Stopped,
            Self::Retirement => Ended::Terminated,
        }
    }

    fn sentence(self) -> &'static str {
        match self {
            Self::InstanceReboot | Self::SystemReboot => "scheduled reboot",
            Self::SystemMaintenance => "scheduled power maintenance",
            Self::Stop => "The instance will be stopped",
            Self::Retirement | Self::PersistentRetirement => {
                "The instance is running on degraded hardware"
            }
        }
    }
}

/// How a change names its instances.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Entities {
    /// `i-…`, in `resources` too.
    #[default]
    Bare,
    /// The whole ARN, and no `resources` at all.
    Arn,
}

/// A scheduled change of some instances.
#[derive(Clone, Debug)]
pub struct Change {
    /// What is to happen.
    pub kind: Maintenance,
    /// To whom.
    pub instances: Vec<String>,
    /// When.
    pub start_at: Millis,
    /// How it names them.
    pub entities: Entities,
    /// In how many pages it comes: 1, or more.
    pub pages: usize,
    /// The Region from which a backup copy comes as well.
    pub backup: Option<String>,
}

impl Change {
    /// A change of one instance: one page, no backup.
    pub fn new(kind: Maintenance, instance: &str, start_at: Millis) -> Self {
        let instances = vec![instance.to_owned()];
        let entities = Entities::default();
        Self { kind, instances, start_at, entities, pages: 1, backup: None }
    }
}

/// A change that was announced.
#[derive(Clone, Debug)]
struct Announced {
    change: Change,
    number: u64,
    updates: u32,
    /// The instances for which it is not over.
    open: Vec<String>,
}

/// Everything that Health announced.
#[derive(Clone, Debug, Default)]
pub struct Health {
    events: BTreeMap<String, Announced>,
}

impl Health {
    /// Announces a change and returns its `eventArn`.
    pub fn schedule(world: &mut World, change: Change) -> String {
        let number = world.rng.u64(1_000_000_000_000..1_000_000_000_000_000);
        let (region, code) = (&world.aws.region, change.kind.event_type_code());
        let arn = format!("arn:aws:health:{region}::event/EC2/{code}/{code}_{number}");
        let (ended, start_at) = (change.kind.ends(), change.start_at);
        for id in &change.instances {
            let event = format!("instance-event-{:017x}", world.rng.u64(..) >> 4);
            let Some(instance) = world.aws.ec2.instances.get_mut(id) else { continue };
            instance.scheduled.push(Scheduled {
                id: event,
                code: change.kind.status_code(),
                description: change.kind.sentence().to_owned(),
                not_before: start_at,
                not_after: (ended == Ended::Rebooted).then_some(start_at + 7_200_000),
            });
            Ec2::announced(world, id, (start_at, ended, "Server.ScheduledStop"), Some(arn.clone()));
        }
        let open = change.instances.clone();
        let announced = Announced { change, number, updates: 1, open };
        Self::tell(world, (&arn, &announced), "open");
        world.aws.health.events.insert(arn.clone(), announced);
        arn
    }

    /// Calls a change off: nothing happens at its time, and a `closed` event says so.
    pub fn cancel(world: &mut World, event_arn: &str) {
        let Some(known) = world.aws.health.events.get_mut(event_arn) else { return };
        let (open, code) = (std::mem::take(&mut known.open), known.change.kind.status_code());
        for id in open {
            Self::end(world, (&id, code), "[Canceled]");
        }
        Self::close(world, event_arn);
    }

    /// The newest change that is still to come for an instance.
    pub fn of_instance(&self, instance: &str) -> Option<&str> {
        let mut all = self.events.iter();
        all.find(|(_, known)| known.open.iter().any(|id| id == instance)).map(|(arn, _)| &**arn)
    }

    /// The time has come for one instance: says whether it was not called off, and closes the event after the last.
    pub(super) fn begins(world: &mut World, event_arn: &str, instance: &str) -> bool {
        let Some(known) = world.aws.health.events.get_mut(event_arn) else { return false };
        let Some(index) = known.open.iter().position(|id| id == instance) else { return false };
        known.open.remove(index);
        let (last, code) = (known.open.is_empty(), known.change.kind.status_code());
        Self::end(world, (instance, code), "[Completed]");
        if last {
            Self::close(world, event_arn);
        }
        true
    }

    fn end(world: &mut World, (id, code): (&str, &str), word: &str) {
        let Some(instance) = world.aws.ec2.instances.get_mut(id) else { return };
        let mut events = instance.scheduled.iter_mut();
        if let Some(event) = events.find(|event| event.code == code && !event.is_over()) {
            event.description = format!("{word} {}", event.description);
        }
    }

    fn close(world: &mut World, event_arn: &str) {
        let Some(known) = world.aws.health.events.get_mut(event_arn) else { return };
        known.updates += 1;
        let known = known.clone();
        Self::tell(world, (event_arn, &known), "closed");
    }

    /// Sends all pages, and their backup copies.
    fn tell(world: &mut World, (arn, known): (&str, &Announced), status: &str) {
        let (change, pages) = (&known.change, known.change.pages.max(1));
        let size = change.instances.len().div_ceil(pages).max(1);
        let regions = [Some(None), change.backup.as_ref().map(Some)];
        for backup in regions.into_iter().flatten() {
            for (page, ids) in change.instances.chunks(size).enumerate() {
                let detail = detail(world, (arn, known), (status, ids), (page + 1, backup));
                let resources = match change.entities {
                    Entities::Bare => ids.to_vec(),
                    Entities::Arn => Vec::new(),
                };
                let detail_type = "AWS Health Event";
                let notice = Notice { source: "aws.health", detail_type, resources, detail };
                EventBridge::emit_durably(world, &notice, backup.map(String::as_str));
            }
        }
    }
}

fn detail(
    world: &World,
    (arn, known): (&str, &Announced),
    (status, ids): (&str, &[String]),
    (page, backup): (usize, Option<&String>),
) -> Value {
    let change = &known.change;
    let size = change.instances.len().div_ceil(change.pages.max(1)).max(1);
    let entity = |id: &String| {
        let value = match change.entities {
            Entities::Bare => id.clone(),
            Entities::Arn => EventBridge::instance_arn(world, id),
        };
        let status = if status == "closed" { "RESOLVED" } else { "PENDING" };
        json!({"entityValue": value, "status": status, "lastUpdatedTime": rfc1123(world.now)})
    };
    json!({
        "eventArn": arn,
        "service": "EC2",
        "eventTypeCode": change.kind.event_type_code(),
        "eventTypeCategory": "scheduledChange",
        "eventScopeCode": "ACCOUNT_SPECIFIC",
        "communicationId": format!("{:040x}-{}", known.number, known.updates),
        "startTime": rfc1123(change.start_at),
        "lastUpdatedTime": rfc1123(world.now),
        "statusCode": status,
        "eventRegion": world.aws.region,
        "eventDescription": [{
            "language": "en_US",
            "latestDescription": change.kind.sentence(),
        }],
        "affectedEntities": ids.iter().map(entity).collect::<Vec<_>>(),
        "affectedAccount": world.aws.account,
        "page": page.to_string(),
        "totalPages": change.instances.len().div_ceil(size).max(1).to_string(),
        "backupEvent": backup.is_some().to_string(),
        "personas": ["OPERATIONS"],
        "actionability": "ACTION_REQUIRED",
    })
}

/// `Thu, 27 Aug 2026 13:19:03 GMT`
fn rfc1123(at: Millis) -> String {
    let Ok(time) = jiff::Timestamp::from_millisecond(at) else { return String::new() };
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
