//! The Auto Scaling groups of the demo's world, and their nodes.
//!
//! ```text
//!   lifecycle action ──> one group with the event's name and hook: nodes that leave, nodes that stay
//!   interruption ──────> spot (or reserved), tainted PreferNoSchedule  │  workers, on demand, with room
//! ```

use crate::demo::act::Act;
use crate::demo::blow::Blow;
use crate::demo::cast::Part;
use crate::demo::world::{CLUSTER, Column, GROUPS, Scene};
use decision::id::ClusterName;
use decision::signal::Transition;
use sandbox::World;
use sandbox::aws::autoscaling::{self, AsgSpec, Autoscaling, HookSpec, Verdict};
use sandbox::aws::ec2::Purchase;
use sandbox::aws::elbv2::Elb;
use sandbox::kubernetes::{Kind, Kubernetes, NodeSpec, NodeTemplate, Taint, object};
use serde_json::{Value, json};

const ZONES: [&str; 3] = ["eu-west-1a", "eu-west-1b", "eu-west-1c"];
/// The least number of nodes in service, and of those that stay.
const NODES_MIN: usize = 4;
const STAY_MIN: usize = 2;
/// Nodes of the group on demand beside one that is interrupted.
const ON_DEMAND: usize = 3;
/// Its name.
const ON_DEMAND_GROUP: &str = "workers";
const PREFER_NO_SCHEDULE: &str = "PreferNoSchedule";
/// The hooks' heartbeat timeout: long enough for every act, short enough to wait for where nobody answers.
const HEARTBEAT_SECONDS: i64 = 300;
/// The hooks of a group whose event names none.
const HOOKS: [(&str, Transition); 2] =
    [("ebbtide-terminate", Transition::Terminating), ("ebbtide-launch", Transition::Launching)];

/// Adds the groups that the event speaks of, one in any case, with nodes in service.
pub(crate) fn add(world: &mut World, scene: &Scene, (groups, column): (&[String], Column)) {
    for asg in asgs(scene) {
        add_group(world, (scene, &asg), groups, column);
        let leaving =
            scene.parts.iter().filter(|part| part.act.is_from_service() && part.asg == asg);
        let mut ids: Vec<String> = leaving.map(|part| part.instance.clone()).collect();
        let known = world.aws.ec2.instances.len();
        let wanted = match (scene.is_struck(), asg.as_str()) {
            (false, _) => NODES_MIN.max(ids.len() + STAY_MIN),
            (true, ON_DEMAND_GROUP) => ON_DEMAND,
            (true, _) => ids.len() + 1,
        };
        ids.extend((ids.len()..wanted).map(|index| format!("i-0f{:015x}", known + index)));
        for (id, zone) in ids.iter().zip(ZONES.iter().cycle()) {
            add_node(world, &asg, (id, zone), groups);
        }
    }
}

/// Makes the instances what they are before anything happens, with pods on their nodes by now.
pub(crate) fn settle(world: &mut World, scene: &Scene) {
    for part in &scene.parts {
        if !part.act.is_from_service() {
            add_newcomer(world, part);
        }
        if let Some(known) = world.aws.ec2.instances.get_mut(&part.instance) {
            known.capacity_reservation.clone_from(&part.reservation);
        }
    }
    if scene.is_struck() {
        taint(world);
    }
}

/// The Auto Scaling groups that the event speaks of, and the one on demand beside those that are interrupted.
fn asgs(scene: &Scene) -> Vec<String> {
    let mut asgs: Vec<String> = Vec::new();
    for part in &scene.parts {
        if !asgs.contains(&part.asg) {
            asgs.push(part.asg.clone());
        }
    }
    if asgs.is_empty() || scene.is_struck() {
        asgs.push(ON_DEMAND_GROUP.to_owned());
    }
    asgs
}

fn add_group(world: &mut World, (scene, asg): (&Scene, &str), groups: &[String], column: Column) {
    let clusters = scene.clusters();
    let cluster = clusters.first().map_or(CLUSTER, ClusterName::as_str);
    let tags = [
        ("ebbtide.dev/managed".to_owned(), "true".to_owned()),
        (format!("kubernetes.io/cluster/{cluster}"), "owned".to_owned()),
    ];
    // A group that replaces what it finds stopped has nothing to start again.
    let comes_back =
        |part: &Part| part.asg == asg && part.act.blow().is_some_and(|blow| blow == Blow::Started);
    let spec = AsgSpec {
        name: asg.to_owned(),
        tags: tags.into(),
        target_groups: groups.iter().take(1).cloned().collect(),
        hooks: if column == Column::With { hook_specs(scene, asg) } else { Vec::new() },
        zones: ZONES.map(str::to_owned).into(),
        purchase: if asg == "spot" && scene.is_struck() {
            Purchase::Spot
        } else {
            Purchase::OnDemand
        },
        suspended: scene.parts.iter().any(comes_back),
        ..AsgSpec::default()
    };
    Autoscaling::add_group(world, spec);
}

/// The hooks that the event names; where it names none, or an instance comes back from a new root volume, both.
fn hook_specs(scene: &Scene, asg: &str) -> Vec<HookSpec> {
    let mut specs: Vec<HookSpec> = Vec::new();
    let named = scene.hooks().filter(|hook| hook.asg.as_str() == asg);
    for hook in named {
        let spec = hook_spec(hook.hook.as_str(), hook.transition, hook.metadata.as_deref());
        if !specs.iter().any(|known| known.name == spec.name) {
            specs.push(spec);
        }
    }
    let comes_back = |part: &Part| part.asg == asg && part.act == Act::ReplaceRootVolume;
    if scene.is_struck() || scene.parts.iter().any(comes_back) {
        for (name, transition) in HOOKS {
            let spec = hook_spec(name, transition, None);
            if !specs.iter().any(|known| known.transition == spec.transition) {
                specs.push(spec);
            }
        }
    }
    specs
}

fn hook_spec(name: &str, transition: Transition, metadata: Option<&str>) -> HookSpec {
    HookSpec {
        name: name.to_owned(),
        transition: match transition {
            Transition::Launching => autoscaling::Transition::Launching,
            Transition::Terminating => autoscaling::Transition::Terminating,
        },
        heartbeat_seconds: HEARTBEAT_SECONDS,
        default_result: Verdict::Abandon,
        metadata: metadata.map(without_target_groups),
        ..HookSpec::default()
    }
}

/// The hook's metadata as the event has it, but for target groups: those of the file are not in this world.
pub(crate) fn without_target_groups(metadata: &str) -> String {
    let Ok(mut value) = serde_json::from_str::<Value>(metadata) else { return metadata.to_owned() };
    let settings = value.get_mut("ebbtide").and_then(Value::as_object_mut);
    let removed = settings.and_then(|settings| settings.remove("target_groups"));
    if removed.is_some() { value.to_string() } else { metadata.to_owned() }
}

/// A node in service: healthy in both target groups.
fn add_node(world: &mut World, asg: &str, (id, zone): (&str, &str), groups: &[String]) {
    Autoscaling::add_instance(world, asg, id, zone);
    let host = world.aws.ec2.instances.get(id);
    let name = host.map(|host| host.private_dns.clone()).unwrap_or_default();
    Kubernetes::add_node(world, NodeSpec::new(&name, id, zone));
    for ((_, port), arn) in GROUPS.iter().zip(groups) {
        Elb::add_healthy(world, arn, id, *port);
    }
}

/// An instance that is new, or in the warm pool: no node, no targets, and wanted only if it is to serve.
fn add_newcomer(world: &mut World, part: &Part) {
    let desired = |world: &World| {
        world.aws.autoscaling.groups.get(&part.asg).map_or(0, |group| group.spec.desired)
    };
    let before = desired(world);
    Autoscaling::add_instance(world, &part.asg, &part.instance, ZONES[0]);
    part.act.prepare(world, &part.instance);
    if let Some(group) = world.aws.autoscaling.groups.get_mut(&part.asg) {
        group.spec.desired = before + usize::from(part.act == Act::Launch);
    }
}

/// The nodes that may be interrupted get the taint that makes the scheduler look elsewhere first. They have pods by now:
/// the other group was smaller when those came.
fn taint(world: &mut World) {
    let groups = world.aws.autoscaling.groups.iter();
    let groups = groups.filter(|(name, _)| *name != ON_DEMAND_GROUP);
    let members =
        groups.map(|(name, group)| (name.clone(), group.members.keys().cloned().collect()));
    let members: Vec<(String, Vec<String>)> = members.collect();
    for (name, ids) in members {
        let value = json!([{"key": name, "value": "true", "effect": PREFER_NO_SCHEDULE}]);
        for host in ids.iter().filter_map(|id| world.aws.ec2.instances.get(id)) {
            let key = object::key("", &host.private_dns);
            let taints = value.clone();
            let nodes = &mut world.kubernetes.store;
            nodes.update(Kind::Node, &key, |node| node.spec.edit()["taints"] = taints);
        }
        let taint = Taint { value: "true".to_owned(), ..Taint::new(&name, PREFER_NO_SCHEDULE) };
        let template = NodeTemplate { taints: vec![taint], ..NodeTemplate::default() };
        world.kubernetes.templates.insert(name, template);
    }
}
