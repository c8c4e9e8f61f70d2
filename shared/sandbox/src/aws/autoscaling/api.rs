//! Auto Scaling's answers.

use super::{Answer, Autoscaling, Group, HookSpec, Member, Retention, Verdict};
use crate::aws::protocol::{Form, Refusal, Xml, iso};
use crate::world::World;

/// Most instance ids of one DescribeAutoScalingInstances.
const INSTANCES_MAX: usize = 50;

/// Records of a page, unless the caller says otherwise.
const PAGE_DEFAULT: usize = 50;

/// Most records of a page.
const PAGE_MAX: usize = 100;

pub(crate) fn serve(
    world: &mut World,
    process: u32,
    action: &str,
    form: &Form,
) -> Result<String, Refusal> {
    match action {
        "DescribeAutoScalingInstances" => describe_instances(world, form),
        "DescribeAutoScalingGroups" => describe_groups(world, form),
        "DescribeLifecycleHooks" => describe_hooks(world, form),
        "CompleteLifecycleAction" => complete(world, process, form),
        "RecordLifecycleActionHeartbeat" => heartbeat(world, process, form),
        _ => Err(Refusal::unknown_action(action)),
    }
}

fn describe_instances(world: &World, form: &Form) -> Result<String, Refusal> {
    let ids = form.list("InstanceIds.member");
    if ids.len() > INSTANCES_MAX {
        return Err(Refusal::validation(format!(
            "The number of instance ids that may be passed in is limited to {INSTANCES_MAX}"
        )));
    }
    let autoscaling = &world.aws.autoscaling;
    // Unknown ids are left out, silently.
    let found: Vec<(&str, &Group, &Member)> = if ids.is_empty() {
        let groups = autoscaling.groups.values();
        groups
            .flat_map(|group| {
                group.members.iter().map(move |(id, member)| (id.as_str(), group, member))
            })
            .collect()
    } else {
        let find = |id: &str| {
            let (id, _) = autoscaling.group_of.get_key_value(id)?;
            let group = autoscaling.group_of(id)?;
            Some((id.as_str(), group, group.members.get(id)?))
        };
        ids.into_iter().filter_map(find).collect()
    };
    let (page, next) = page(&found, form, PAGE_DEFAULT)?;
    let mut xml = Xml::default();
    xml.list(("AutoScalingInstances", "member"), page, |xml, (id, group, member)| {
        xml.leaf("InstanceId", id).leaf("InstanceType", "m7g.large");
        xml.leaf("AutoScalingGroupName", &group.spec.name);
        xml.leaf("AvailabilityZone", &member.zone);
        xml.leaf("LifecycleState", member.state.name());
        // Here in capitals; in DescribeAutoScalingGroups not.
        xml.leaf("HealthStatus", if member.healthy { "HEALTHY" } else { "UNHEALTHY" });
        write_template(xml);
        xml.leaf("ProtectedFromScaleIn", "false");
    });
    write_next(&mut xml, next);
    Ok(xml.into_text())
}

fn describe_groups(world: &World, form: &Form) -> Result<String, Refusal> {
    let names = form.list("AutoScalingGroupNames.member");
    let mut filters = Vec::new();
    for prefix in form.structures("Filters.member", "Name") {
        let name = form.get(&format!("{prefix}.Name")).unwrap_or_default();
        if !name.starts_with("tag:") && !["tag-key", "tag-value"].contains(&name) {
            return Err(Refusal::validation(format!("Filter type {name} is not correct.")));
        }
        filters.push((name, form.list(&format!("{prefix}.Values.member"))));
    }
    let groups = &world.aws.autoscaling.groups;
    let named: Vec<&Group> = if names.is_empty() {
        groups.values().collect()
    } else {
        names.iter().filter_map(|name| groups.get(*name)).collect()
    };
    let found: Vec<&Group> = named
        .into_iter()
        .filter(|group| filters.iter().all(|(name, values)| holds(group, name, values)))
        .collect();
    let instances = form.get("IncludeInstances") != Some("false");
    let (page, next) = page(&found, form, PAGE_DEFAULT)?;
    let mut xml = Xml::default();
    xml.list(("AutoScalingGroups", "member"), page, |xml, group| {
        write_group(xml, group);
        // Instances of the warm pool belong to another call.
        let members = group.members.iter().filter(|(_, member)| !member.state.is_warmed());
        xml.list(("Instances", "member"), members.filter(|_| instances), |xml, (id, member)| {
            xml.leaf("InstanceId", id).leaf("InstanceType", "m7g.large");
            xml.leaf("AvailabilityZone", &member.zone);
            xml.leaf("LifecycleState", member.state.name());
            xml.leaf("HealthStatus", if member.healthy { "Healthy" } else { "Unhealthy" });
            write_template(xml);
            xml.leaf("ProtectedFromScaleIn", "false");
        });
    });
    write_next(&mut xml, next);
    Ok(xml.into_text())
}

fn describe_hooks(world: &World, form: &Form) -> Result<String, Refusal> {
    let name = form.required("AutoScalingGroupName")?;
    let wanted = form.list("LifecycleHookNames.member");
    let group = world.aws.autoscaling.groups.get(name).ok_or_else(|| {
        Refusal::validation(format!("AutoScalingGroup name not found - no such group: {name}"))
    })?;
    let hooks = group.spec.hooks.iter();
    let hooks = hooks.filter(|hook| wanted.is_empty() || wanted.contains(&hook.name.as_str()));
    let mut xml = Xml::default();
    xml.list(("LifecycleHooks", "member"), hooks, |xml, hook| {
        xml.leaf("LifecycleHookName", &hook.name).leaf("AutoScalingGroupName", name);
        xml.leaf("LifecycleTransition", hook.transition.name());
        if let Some(metadata) = &hook.metadata {
            xml.leaf("NotificationMetadata", metadata);
        }
        xml.leaf("HeartbeatTimeout", hook.heartbeat_seconds.to_string());
        xml.leaf("GlobalTimeout", hook.global_timeout_seconds().to_string());
        xml.leaf("DefaultResult", hook.default_result.name());
    });
    Ok(xml.into_text())
}

fn complete(world: &mut World, process: u32, form: &Form) -> Result<String, Refusal> {
    let hook = form.required("LifecycleHookName")?;
    let result = form.required("LifecycleActionResult")?;
    let verdict = match result {
        "CONTINUE" => Verdict::Continue,
        "ABANDON" => Verdict::Abandon,
        _ => {
            let message = format!("Lifecycle action result {result} is not CONTINUE or ABANDON");
            return Err(Refusal::validation(message));
        }
    };
    mind_foreign(world, process, form)?;
    let found = find(world, form)?;
    let accepted = found.is_ok();
    let instance = match &found {
        Ok(token) => {
            let actions = world.aws.autoscaling.actions.iter().rev();
            let action = actions.into_iter().find(|action| action.token == *token);
            action.map(|action| action.instance.clone())
        }
        Err(_) => form.get("InstanceId").map(str::to_owned),
    };
    world.aws.autoscaling.answers.push(Answer {
        at: world.now,
        hook: hook.to_owned(),
        instance: instance.unwrap_or_default(),
        token: form.get("LifecycleActionToken").map(str::to_owned),
        result: result.to_owned(),
        accepted,
        process,
    });
    Autoscaling::complete(world, &found?, verdict);
    Ok(String::new())
}

fn heartbeat(world: &mut World, process: u32, form: &Form) -> Result<String, Refusal> {
    mind_foreign(world, process, form)?;
    let token = find(world, form)??;
    Autoscaling::heartbeat(world, &token);
    Ok(String::new())
}

/// Records an answer to a hook that is not one of those under test.
fn mind_foreign(world: &mut World, process: u32, form: &Form) -> Result<(), Refusal> {
    let (hook, name) =
        (form.required("LifecycleHookName")?, form.required("AutoScalingGroupName")?);
    let group = world.aws.autoscaling.groups.get(name);
    let known: Option<&HookSpec> =
        group.and_then(|group| group.spec.hooks.iter().find(|known| known.name == hook));
    if known.is_some_and(|known| !known.ours) {
        let action = form.get("Action").unwrap_or_default();
        world
            .violations
            .push(format!("foreign-hook: {action} of {hook} on {name} by process {process}"));
    }
    Ok(())
}

/// The token of the action that a call names, or Auto Scaling's words when there is none that waits.
fn find(world: &World, form: &Form) -> Result<Result<String, Refusal>, Refusal> {
    let autoscaling = &world.aws.autoscaling;
    let (hook, group) =
        (form.required("LifecycleHookName")?, form.required("AutoScalingGroupName")?);
    let fits = |index: &usize| {
        let action = autoscaling.actions.get(*index)?;
        (action.hook == hook && action.group == group).then(|| action.token.clone())
    };
    let (found, which) = match (form.get("LifecycleActionToken"), form.get("InstanceId")) {
        (Some(token), _) => {
            (autoscaling.waiting.get(token).and_then(fits), format!("token {token}"))
        }
        (None, Some(instance)) => {
            let mut waiting = autoscaling.waiting(instance);
            let found = waiting.find(|action| action.hook == hook && action.group == group);
            (found.map(|action| action.token.clone()), format!("instance ID {instance}"))
        }
        (None, None) => {
            let message = "Either the lifecycle action token or the instance ID must be specified";
            return Err(Refusal::validation(message));
        }
    };
    Ok(found.ok_or_else(|| {
        Refusal::validation(format!("No active Lifecycle Action found with {which}"))
    }))
}

fn holds(group: &Group, name: &str, values: &[&str]) -> bool {
    let tags = &group.spec.tags;
    match name {
        "tag-key" => values.iter().any(|key| tags.contains_key(*key)),
        "tag-value" => tags.values().any(|value| values.contains(&value.as_str())),
        _ => name
            .strip_prefix("tag:")
            .and_then(|key| tags.get(key))
            .is_some_and(|value| values.contains(&value.as_str())),
    }
}

/// One page of `found`, and the token of the next.
fn page<'a, T>(
    found: &'a [T],
    form: &Form,
    size: usize,
) -> Result<(impl Iterator<Item = &'a T>, Option<usize>), Refusal> {
    let size = form.get("MaxRecords").and_then(|max| max.parse().ok()).unwrap_or(size);
    let size = size.clamp(1, PAGE_MAX);
    let start = match form.get("NextToken") {
        None => 0,
        Some(token) => token.parse().map_err(|_| {
            Refusal::new(400, "InvalidNextToken", format!("The token '{token}' is invalid."))
        })?,
    };
    let next = (start + size < found.len()).then_some(start + size);
    Ok((found.iter().skip(start).take(size), next))
}

fn write_next(xml: &mut Xml, next: Option<usize>) {
    if let Some(next) = next {
        xml.leaf("NextToken", next.to_string());
    }
}

fn write_template(xml: &mut Xml) {
    xml.node("LaunchTemplate", |xml| {
        xml.leaf("LaunchTemplateId", "lt-0a1b2c3d4e5f67890");
        xml.leaf("LaunchTemplateName", "nodes").leaf("Version", "1");
    });
}

fn write_group(xml: &mut Xml, group: &Group) {
    let spec = &group.spec;
    let desired = spec.desired.to_string();
    xml.leaf("AutoScalingGroupName", &spec.name).leaf("AutoScalingGroupARN", &group.arn);
    xml.leaf("MinSize", "0").leaf("MaxSize", "1000").leaf("DesiredCapacity", desired);
    xml.leaf("DefaultCooldown", "300");
    let mut zones: Vec<&str> = group.members.values().map(|member| member.zone.as_str()).collect();
    zones.sort_unstable();
    zones.dedup();
    xml.values(("AvailabilityZones", "member"), zones);
    xml.node("LoadBalancerNames", |_| {});
    xml.values(("TargetGroupARNs", "member"), &spec.target_groups);
    xml.leaf("HealthCheckType", "EC2").leaf("HealthCheckGracePeriod", "300");
    xml.leaf("CreatedTime", iso(group.created_at));
    xml.leaf("VPCZoneIdentifier", "subnet-0a1b2c3d");
    xml.list(("Tags", "member"), &spec.tags, |xml, (key, value)| {
        xml.leaf("ResourceId", &spec.name).leaf("ResourceType", "auto-scaling-group");
        xml.leaf("Key", key).leaf("Value", value).leaf("PropagateAtLaunch", "true");
    });
    xml.values(("TerminationPolicies", "member"), ["Default"]);
    xml.leaf("NewInstancesProtectedFromScaleIn", "false");
    xml.leaf("CapacityRebalance", spec.capacity_rebalance.to_string());
    if spec.retention == Retention::Retain {
        xml.node("InstanceLifecyclePolicy", |xml| {
            xml.node("RetentionTriggers", |xml| {
                xml.leaf("TerminateHookAbandon", "retain");
            });
        });
    }
}
