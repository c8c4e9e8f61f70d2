//! AWS Health's scheduled changes: announced, shown by EC2, carried out or called off.

use super::{START, after, bodies, call, with_nodes};
use sandbox::World;
use sandbox::aws::ec2::State;
use sandbox::aws::events::Delivery;
use sandbox::aws::health::{Change, Entities, Health, Maintenance};
use serde_json::Value;

fn suspended<R>(test: impl FnOnce(&mut World) -> R) -> R {
    with_nodes(Vec::new(), |world, _| {
        world.aws.autoscaling.groups.get_mut("nodes").expect("it is there").spec.suspended = true;
        test(world)
    })
}

fn health(world: &mut World) -> Vec<Value> {
    let mut all = bodies(world);
    all.retain(|body| body["source"] == "aws.health");
    all
}

const ONE: [(&str, &str); 1] = [("InstanceId.1", "i-1")];

#[test]
fn each_kind_ends_as_its_code_says() {
    for kind in Maintenance::ALL {
        suspended(|world| {
            let boot = world.aws.ec2.instances["i-1"].boot;
            Health::schedule(world, Change::new(kind, "i-1", START + 3_600_000));
            after(world, 2);
            let events = health(world);
            assert_eq!(events.len(), 1, "{kind:?}");
            let detail = &events[0]["detail"];
            assert_eq!(events[0]["detail-type"], "AWS Health Event");
            assert_eq!(detail["service"], "EC2");
            assert_eq!(detail["eventTypeCode"], kind.event_type_code());
            assert_eq!(detail["eventTypeCategory"], "scheduledChange");
            assert_eq!(detail["startTime"], "Sun, 22 Nov 2026 13:00:00 GMT");
            assert_eq!(
                (&detail["statusCode"], &detail["backupEvent"]),
                (&"open".into(), &"false".into())
            );
            let shown = call(world, "ec2", "DescribeInstanceStatus", &ONE);
            assert_eq!(shown.one("notBefore"), "2026-11-22T13:00:00.000Z");
            let eventful = shown.all("eventsSet");
            assert!(eventful[0].contains(&format!("<code>{}</code>", kind.status_code())));
            after(world, 3_597);
            assert_eq!(world.aws.ec2.state("i-1"), Some(State::Running), "{kind:?}");
            after(world, 60);
            after(world, 10);
            let instance = &world.aws.ec2.instances["i-1"];
            let expected = match kind {
                Maintenance::InstanceReboot
                | Maintenance::SystemReboot
                | Maintenance::SystemMaintenance => (State::Running, boot + 1),
                Maintenance::Stop | Maintenance::PersistentRetirement => (State::Stopped, boot),
                Maintenance::Retirement => (State::Terminated, boot),
            };
            assert_eq!((instance.state, instance.boot), expected, "{kind:?}");
            let closed = health(world);
            assert_eq!(closed[0]["detail"]["statusCode"], "closed", "{kind:?}");
            assert_eq!(closed[0]["detail"]["eventArn"], detail["eventArn"], "{kind:?}");
            let all = [("InstanceId.1", "i-1"), ("IncludeAllInstances", "true")];
            let shown = call(world, "ec2", "DescribeInstanceStatus", &all);
            assert!(shown.one("description").starts_with("[Completed] "), "{kind:?}");
        });
    }
}

#[test]
fn what_is_called_off_does_not_happen() {
    suspended(|world| {
        let change = Change::new(Maintenance::Retirement, "i-1", START + 600_000);
        let arn = Health::schedule(world, change);
        assert_eq!(world.aws.health.of_instance("i-1"), Some(arn.as_str()));
        after(world, 60);
        Health::cancel(world, &arn);
        assert_eq!(world.aws.health.of_instance("i-1"), None);
        after(world, 900);
        assert_eq!(world.aws.ec2.state("i-1"), Some(State::Running));
        let events = health(world);
        let statuses: Vec<_> = events.iter().map(|body| &body["detail"]["statusCode"]).collect();
        assert_eq!(statuses, ["open", "closed"]);
        let ids: Vec<_> = events.iter().map(|body| &body["detail"]["communicationId"]).collect();
        assert_ne!(ids[0], ids[1], "each update has an id of its own");
        let shown = call(world, "ec2", "DescribeInstanceStatus", &ONE);
        assert!(shown.one("description").starts_with("[Canceled] "));
    });
}

#[test]
fn a_change_of_many_comes_in_pages_and_from_a_backup_region_too() {
    suspended(|world| {
        let change = Change {
            instances: ["i-1", "i-2", "i-3"].map(str::to_owned).into(),
            entities: Entities::Arn,
            pages: 2,
            backup: Some("us-west-2".to_owned()),
            ..Change::new(Maintenance::SystemReboot, "i-1", START + 86_400_000)
        };
        Health::schedule(world, change);
        after(world, 2);
        let events = health(world);
        assert_eq!(events.len(), 4);
        let backups = events.iter().filter(|body| body["detail"]["backupEvent"] == "true");
        for body in backups.clone() {
            assert_eq!(body["region"], "us-west-2");
            assert_eq!(body["detail"]["eventRegion"], "eu-central-1");
        }
        assert_eq!(backups.count(), 2);
        let mut entities: Vec<&str> = events
            .iter()
            .filter(|body| body["detail"]["backupEvent"] == "false")
            .flat_map(|body| body["detail"]["affectedEntities"].as_array().expect("a list"))
            .filter_map(|entity| entity["entityValue"].as_str())
            .collect();
        entities.sort_unstable();
        let arn = |id: &str| format!("arn:aws:ec2:eu-central-1:123456789012:instance/{id}");
        assert_eq!(entities, [arn("i-1"), arn("i-2"), arn("i-3")]);
        for body in &events {
            assert_eq!(body["detail"]["totalPages"], "2");
            assert_eq!(body["detail"]["communicationId"], events[0]["detail"]["communicationId"]);
            assert_eq!(body["resources"], Value::Array(Vec::new()));
        }
    });
}

#[test]
fn health_loses_nothing() {
    suspended(|world| {
        world.aws.events.delivery = Delivery { lost: 1_000, ..Delivery::default() };
        Health::schedule(world, Change::new(Maintenance::Stop, "i-1", START + 600_000));
        after(world, 2);
        assert_eq!(health(world).len(), 1);
    });
}
