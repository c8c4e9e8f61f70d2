//! ELBv2's answers.

use super::{Elb, Health, Kind, Reason, TargetGroup, TargetType};
use crate::aws::ec2::State;
use crate::aws::protocol::{Form, Refusal, Xml};
use crate::world::World;

/// Most target groups of one page.
const PAGE_MAX: usize = 400;

pub(crate) fn serve(world: &mut World, action: &str, form: &Form) -> Result<String, Refusal> {
    match action {
        "RegisterTargets" => register_targets(world, form),
        "DeregisterTargets" => deregister_targets(world, form),
        "DescribeTargetHealth" => describe_target_health(world, form),
        "DescribeTargetGroups" => describe_target_groups(world, form),
        "DescribeTargetGroupAttributes" => describe_target_group_attributes(world, form),
        _ => Err(Refusal::unknown_action(action)),
    }
}

/// The targets that a call names; without a port the group's own is meant.
fn targets(group: &TargetGroup, form: &Form) -> Vec<(String, u16)> {
    let named = form.structures("Targets.member", "Id");
    let target = |prefix: &String| {
        let id = form.get(&format!("{prefix}.Id"))?;
        let port = form.get(&format!("{prefix}.Port")).and_then(|port| port.parse().ok());
        Some((id.to_owned(), port.unwrap_or(group.spec.port)))
    };
    named.iter().filter_map(target).collect()
}

fn register_targets(world: &mut World, form: &Form) -> Result<String, Refusal> {
    let group = Elb::group(world, form.required("TargetGroupArn")?)?;
    let (arn, targets) = (group.arn.clone(), targets(group, form));
    if group.spec.target_type == TargetType::Instance {
        for (id, _) in &targets {
            let message = match world.aws.ec2.state(id) {
                Some(State::Running) => continue,
                Some(_) => format!(
                    "The following targets are not in a running state and cannot be registered: '{id}'"
                ),
                None => format!("Instance ID '{id}' is not valid"),
            };
            return Err(Refusal::new(400, "InvalidTarget", message));
        }
    }
    for (id, port) in targets {
        Elb::register(world, &arn, &id, port);
    }
    Ok(String::new())
}

fn deregister_targets(world: &mut World, form: &Form) -> Result<String, Refusal> {
    let group = Elb::group(world, form.required("TargetGroupArn")?)?;
    let (arn, name, targets) = (group.arn.clone(), group.spec.name.clone(), targets(group, form));
    let lived = group.is_living();
    for (id, port) in &targets {
        Elb::deregister(world, &arn, id, *port);
    }
    if lived && !Elb::group(world, &arn)?.is_living() {
        let targets: Vec<_> = targets.iter().map(|(id, port)| format!("{id}:{port}")).collect();
        world.violations.push(format!(
            "group-emptied: {name} has no living target after DeregisterTargets of {}",
            targets.join(", ")
        ));
    }
    Ok(String::new())
}

fn describe_target_health(world: &mut World, form: &Form) -> Result<String, Refusal> {
    let group = Elb::group(world, form.required("TargetGroupArn")?)?;
    let named = targets(group, form);
    let (arn, kind) = (group.arn.clone(), group.spec.kind);
    let Some(group) = world.aws.elb.groups.get_mut(&arn) else { return Ok(String::new()) };
    let mut xml = Xml::default();
    let list = ("TargetHealthDescriptions", "member");
    if named.is_empty() {
        // What was said of a target holds until its health changes: a thousand of them are mostly copied.
        xml.list(list, &mut group.targets, |xml, (key, target)| {
            if target.said.as_ref().is_none_or(|(health, _)| *health != target.health) {
                let mut one = Xml::default();
                write_health(&mut one, kind, key, target.health);
                target.said = Some((target.health, one.into_text()));
            }
            xml.raw(target.said.as_ref().map_or("", |(_, text)| text));
        });
    } else {
        xml.list(list, &named, |xml, key| {
            let health = group.targets.get(key).map(|target| target.health);
            let health = health.unwrap_or(Health::Unused(Reason::NotRegistered));
            write_health(xml, kind, key, health);
        });
    }
    Ok(xml.into_text())
}

fn describe_target_groups(world: &World, form: &Form) -> Result<String, Refusal> {
    let (arns, names) = (form.list("TargetGroupArns.member"), form.list("Names.member"));
    for arn in &arns {
        Elb::group(world, arn)?;
    }
    let all = || world.aws.elb.groups.values();
    let missing: Vec<&str> = names
        .iter()
        .filter(|name| !all().any(|group| group.spec.name == **name))
        .copied()
        .collect();
    if !missing.is_empty() {
        let message = format!("Target groups '[{}]' not found", missing.join(", "));
        return Err(Refusal::new(400, "TargetGroupNotFound", message));
    }
    let chosen: Vec<_> = all()
        .filter(|group| arns.is_empty() || arns.contains(&group.arn.as_str()))
        .filter(|group| names.is_empty() || names.contains(&group.spec.name.as_str()))
        .collect();
    let start = form.get("Marker").and_then(|marker| marker.parse().ok()).unwrap_or(0);
    let size = form.get("PageSize").and_then(|size| size.parse().ok()).unwrap_or(PAGE_MAX);
    let mut xml = Xml::default();
    xml.list(("TargetGroups", "member"), chosen.iter().skip(start).take(size), |xml, group| {
        write_group(xml, world, group);
    });
    if start + size < chosen.len() {
        xml.leaf("NextMarker", (start + size).to_string());
    }
    Ok(xml.into_text())
}

fn describe_target_group_attributes(world: &World, form: &Form) -> Result<String, Refusal> {
    let group = Elb::group(world, form.required("TargetGroupArn")?)?;
    let mut attributes = vec![
        (
            "deregistration_delay.timeout_seconds",
            group.spec.deregistration_delay_seconds.to_string(),
        ),
        ("stickiness.enabled", "false".to_owned()),
        ("load_balancing.cross_zone.enabled", "use_load_balancer_configuration".to_owned()),
        (
            "target_group_health.unhealthy_state_routing.minimum_healthy_targets.count",
            "1".to_owned(),
        ),
    ];
    match group.spec.kind {
        Kind::Alb => {
            attributes.push(("slow_start.duration_seconds", "0".to_owned()));
            attributes.push(("load_balancing.algorithm.type", "round_robin".to_owned()));
        }
        Kind::Nlb => {
            let key = "deregistration_delay.connection_termination.enabled";
            attributes.push((key, "false".to_owned()));
            attributes.push(("preserve_client_ip.enabled", "true".to_owned()));
        }
    }
    let mut xml = Xml::default();
    xml.list(("Attributes", "member"), attributes, |xml, (key, value)| {
        xml.leaf("Key", key).leaf("Value", value);
    });
    Ok(xml.into_text())
}

fn write_health(xml: &mut Xml, kind: Kind, (id, port): &(String, u16), health: Health) {
    xml.node("Target", |xml| {
        xml.leaf("Id", id).leaf("Port", port.to_string());
    });
    // Health checks use the traffic port here, as they do by default.
    xml.leaf("HealthCheckPort", port.to_string());
    let (state, why) = health.describe();
    xml.node("TargetHealth", |xml| {
        xml.leaf("State", state);
        if let Some((reason, description)) = why {
            xml.leaf("Reason", reason).leaf("Description", description);
        }
    });
    if kind == Kind::Alb {
        xml.node("AdministrativeOverride", |xml| {
            xml.leaf("State", "no_override").leaf("Reason", "AdministrativeOverride.NoOverride");
            xml.leaf("Description", "No override is currently active on target");
        });
    }
}

fn write_group(xml: &mut Xml, world: &World, group: &TargetGroup) {
    let spec = &group.spec;
    let (protocol, family) = match spec.kind {
        Kind::Alb => ("HTTP", "app"),
        Kind::Nlb => ("TCP", "net"),
    };
    let target_type = match spec.target_type {
        TargetType::Instance => "instance",
        TargetType::Ip => "ip",
    };
    xml.leaf("TargetGroupArn", &group.arn).leaf("TargetGroupName", &spec.name);
    xml.leaf("Protocol", protocol).leaf("Port", spec.port.to_string());
    xml.leaf("VpcId", "vpc-0a1b2c3d").leaf("HealthCheckProtocol", protocol);
    xml.leaf("HealthCheckPort", "traffic-port").leaf("HealthCheckEnabled", "true");
    let interval = spec.health_check_interval_seconds;
    xml.leaf("HealthCheckIntervalSeconds", interval.to_string());
    xml.leaf("HealthCheckTimeoutSeconds", interval.min(5).to_string());
    xml.leaf("HealthyThresholdCount", spec.healthy_threshold.to_string());
    xml.leaf("UnhealthyThresholdCount", spec.unhealthy_threshold.to_string());
    if spec.kind == Kind::Alb {
        xml.leaf("HealthCheckPath", "/").node("Matcher", |xml| {
            xml.leaf("HttpCode", "200");
        });
    }
    let (region, account) = (&world.aws.region, &world.aws.account);
    let balancer = format!(
        "arn:aws:elasticloadbalancing:{region}:{account}:loadbalancer/{family}/{}/50dc6c495c0c9188",
        spec.name
    );
    xml.values(("LoadBalancerArns", "member"), spec.listener.then_some(balancer));
    xml.leaf("TargetType", target_type).leaf("IpAddressType", "ipv4");
}
