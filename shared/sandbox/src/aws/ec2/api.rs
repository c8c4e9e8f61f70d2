//! EC2's answers: DescribeInstances, DescribeInstanceStatus and DescribeSpotInstanceRequests.

use super::{Instance, Purchase, SpotAction, State};
use crate::aws::protocol::{Form, Refusal, Xml, iso};
use crate::world::{Millis, World};

/// For how long EC2 shows an instance that is terminated.
const SHOWN_MS: Millis = 3_600_000;

/// Most values of one filter.
const FILTER_VALUES_MAX: usize = 200;

/// Most instances that one page holds.
const PAGE_MAX: usize = 1_000;

pub(crate) fn serve(world: &mut World, action: &str, form: &Form) -> Result<String, Refusal> {
    match action {
        "DescribeInstances" => describe_instances(world, form),
        "DescribeInstanceStatus" => describe_instance_status(world, form),
        "DescribeSpotInstanceRequests" => describe_spot_instance_requests(world, form),
        _ => Err(Refusal::unknown_action(action)),
    }
}

fn describe_instances(world: &World, form: &Form) -> Result<String, Refusal> {
    let chosen = choose(world, form)?;
    let start = offset(form)?;
    let size = form.get("MaxResults").and_then(|max| max.parse().ok()).unwrap_or(PAGE_MAX);
    let mut xml = Xml::default();
    let page = chosen.iter().skip(start).take(size);
    xml.list(("reservationSet", "item"), page, |xml, instance| {
        xml.leaf("reservationId", format!("r-{}", instance.id.trim_start_matches("i-")));
        xml.leaf("ownerId", &world.aws.account);
        xml.node("groupSet", |_| {});
        xml.list(("instancesSet", "item"), [*instance], write_instance);
    });
    if start + size < chosen.len() {
        xml.leaf("nextToken", format!("page-{}", start + size));
    }
    Ok(xml.into_text())
}

fn describe_instance_status(world: &World, form: &Form) -> Result<String, Refusal> {
    let all = form.get("IncludeAllInstances") == Some("true");
    let chosen = choose(world, form)?;
    let mut shown = chosen;
    shown.retain(|instance| all || instance.state == State::Running);
    let start = offset(form)?;
    let size = form.get("MaxResults").and_then(|max| max.parse().ok()).unwrap_or(PAGE_MAX);
    let mut xml = Xml::default();
    let page = shown.iter().skip(start).take(size);
    xml.list(("instanceStatusSet", "item"), page, |xml, instance| {
        xml.leaf("instanceId", &instance.id);
        xml.leaf("availabilityZone", &instance.zone);
        if !instance.scheduled.is_empty() {
            xml.list(("eventsSet", "item"), &instance.scheduled, |xml, event| {
                xml.leaf("instanceEventId", &event.id).leaf("code", event.code);
                xml.leaf("description", &event.description);
                xml.leaf("notBefore", iso(event.not_before));
                if let Some(not_after) = event.not_after {
                    xml.leaf("notAfter", iso(not_after));
                }
            });
        }
        xml.node("instanceState", |xml| write_state(xml, instance));
        for check in ["systemStatus", "instanceStatus"] {
            xml.node(check, |xml| {
                xml.leaf("status", status_of(instance));
            });
        }
    });
    if start + size < shown.len() {
        xml.leaf("nextToken", format!("page-{}", start + size));
    }
    Ok(xml.into_text())
}

/// What EC2's own checks say.
fn status_of(instance: &Instance) -> &'static str {
    match (instance.state, instance.impaired) {
        (State::Running, false) => "ok",
        (State::Running, true) => "impaired",
        _ => "not-applicable",
    }
}

fn describe_spot_instance_requests(world: &World, form: &Form) -> Result<String, Refusal> {
    let chosen = choose(world, form)?;
    let spot = chosen.into_iter().filter(|instance| instance.purchase == Purchase::Spot);
    let mut xml = Xml::default();
    xml.list(("spotInstanceRequestSet", "item"), spot, |xml, instance| {
        let request = instance.id.trim_start_matches("i-");
        xml.leaf("spotInstanceRequestId", format!("sir-{request}"));
        let open = matches!(instance.state, State::Pending | State::Running);
        xml.leaf("state", if open { "active" } else { "closed" });
        xml.node("status", |xml| {
            xml.leaf("code", spot_status(instance)).leaf("updateTime", iso(instance.launched_at));
        });
        xml.leaf("instanceId", &instance.id).leaf("type", "one-time");
        xml.leaf("instanceInterruptionBehavior", instance.spot_action.name());
    });
    Ok(xml.into_text())
}

fn spot_status(instance: &Instance) -> &'static str {
    match (instance.state, instance.reclaimed_at) {
        (State::Pending | State::Running, None) => "fulfilled",
        (State::Pending | State::Running, Some(_)) => match instance.spot_action {
            SpotAction::Terminate => "marked-for-termination",
            SpotAction::Stop | SpotAction::Hibernate => "marked-for-stop",
        },
        (State::Stopping | State::Stopped, Some(_)) => "instance-stopped-no-capacity",
        _ => "instance-terminated-by-service",
    }
}

/// The instances that a call is about: by id (all must exist), then by every filter.
fn choose<'a>(world: &'a World, form: &Form) -> Result<Vec<&'a Instance>, Refusal> {
    let ids = form.list("InstanceId");
    let instances = &world.aws.ec2.instances;
    let oldest = world.now - SHOWN_MS;
    let is_shown = |instance: &&Instance| instance.terminated_at.is_none_or(|at| at > oldest);
    let find = |id: &&str| instances.get(*id).filter(is_shown);
    let unknown: Vec<&str> = ids.iter().filter(|id| find(id).is_none()).copied().collect();
    if let Some(id) = unknown.iter().find(|id| !is_id(id)) {
        let message = format!("Invalid id: \"{id}\"");
        return Err(Refusal::new(400, "InvalidInstanceID.Malformed", message));
    }
    if !unknown.is_empty() {
        let (ids, verb) = if unknown.len() == 1 { ("ID", "does") } else { ("IDs", "do") };
        let message = format!("The instance {ids} '{}' {verb} not exist", unknown.join(", "));
        return Err(Refusal::new(400, "InvalidInstanceID.NotFound", message));
    }
    let mut filters = Vec::new();
    for prefix in form.structures("Filter", "Name") {
        let name = form.get(&format!("{prefix}.Name")).unwrap_or_default();
        if !is_filter(name) {
            let message = format!("The filter '{name}' is invalid");
            return Err(Refusal::new(400, "InvalidParameterValue", message));
        }
        let values = form.list(&format!("{prefix}.Value"));
        if values.len() > FILTER_VALUES_MAX {
            let message = format!(
                "The maximum number of filter values specified on a single call is {FILTER_VALUES_MAX}"
            );
            return Err(Refusal::new(400, "FilterLimitExceeded", message));
        }
        filters.push((name, values));
    }
    let passes =
        |instance: &&Instance| filters.iter().all(|(name, values)| holds(instance, name, values));
    // A filter by id needs no walk over all instances.
    let by_id = filters.iter().find(|(name, _)| *name == "instance-id").map(|(_, values)| values);
    Ok(match (ids.is_empty(), by_id) {
        (false, _) => ids.iter().filter_map(find).filter(passes).collect(),
        (true, Some(ids)) => ids.iter().filter_map(find).filter(passes).collect(),
        (true, None) => instances.values().filter(is_shown).filter(passes).collect(),
    })
}

/// Of any length: tests have short ones.
fn is_id(text: &str) -> bool {
    let digits = text.strip_prefix("i-").unwrap_or_default();
    !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
}

fn is_filter(name: &str) -> bool {
    const NAMES: [&str; 13] = [
        "event.code",
        "event.description",
        "event.instance-event-id",
        "instance-status.status",
        "system-status.status",
        "status-code",
        "instance-id",
        "instance-state-name",
        "private-dns-name",
        "availability-zone",
        "tag-key",
        "capacity-reservation-id",
        "instance-lifecycle",
    ];
    name.starts_with("tag:") || NAMES.contains(&name)
}

fn holds(instance: &Instance, name: &str, values: &[&str]) -> bool {
    let value = match name {
        "instance-id" => Some(instance.id.as_str()),
        "instance-state-name" => Some(instance.state.name()),
        "private-dns-name" => Some(instance.private_dns.as_str()),
        "availability-zone" => Some(instance.zone.as_str()),
        "capacity-reservation-id" => instance.capacity_reservation.as_deref(),
        "instance-lifecycle" => (instance.purchase == Purchase::Spot).then_some("spot"),
        "status-code" => Some(spot_status(instance)),
        "instance-status.status" | "system-status.status" => Some(status_of(instance)),
        "event.code" | "event.description" | "event.instance-event-id" => {
            return instance.scheduled.iter().any(|event| {
                let value = match name {
                    "event.code" => event.code,
                    "event.description" => &event.description,
                    _ => &event.id,
                };
                values.iter().any(|pattern| matches(pattern, value))
            });
        }
        "tag-key" => return values.iter().any(|key| instance.tags.contains_key(*key)),
        _ => name.strip_prefix("tag:").and_then(|key| instance.tags.get(key)).map(String::as_str),
    };
    value.is_some_and(|value| values.iter().any(|pattern| matches(pattern, value)))
}

/// EC2's filter values may hold `*` for any text; other wildcards are not needed here.
fn matches(pattern: &str, value: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == value,
        Some((start, rest)) => value.strip_prefix(start).is_some_and(|left| {
            let mut cuts = left.char_indices().map(|(at, _)| at).chain([left.len()]);
            cuts.any(|at| left.get(at..).is_some_and(|tail| matches(rest, tail)))
        }),
    }
}

fn offset(form: &Form) -> Result<usize, Refusal> {
    let Some(token) = form.get("NextToken") else { return Ok(0) };
    token.strip_prefix("page-").and_then(|at| at.parse().ok()).ok_or_else(|| {
        Refusal::new(400, "InvalidParameterValue", "Unable to parse pagination token")
    })
}

fn write_state(xml: &mut Xml, instance: &Instance) {
    xml.leaf("code", instance.state.code().to_string()).leaf("name", instance.state.name());
}

fn write_instance(xml: &mut Xml, instance: &Instance) {
    let gone = instance.state == State::Terminated;
    xml.leaf("instanceId", &instance.id).leaf("imageId", "ami-0a1b2c3d4e5f67890");
    xml.node("instanceState", |xml| write_state(xml, instance));
    // A terminated instance has lost its addresses and names.
    xml.leaf("privateDnsName", if gone { "" } else { &instance.private_dns });
    xml.leaf("dnsName", "").leaf("reason", "").leaf("amiLaunchIndex", "0");
    xml.leaf("instanceType", "m7g.large").leaf("launchTime", iso(instance.launched_at));
    xml.node("placement", |xml| {
        xml.leaf("availabilityZone", &instance.zone).leaf("tenancy", "default");
    });
    if !gone {
        xml.leaf("privateIpAddress", &instance.private_ip);
        xml.leaf("vpcId", "vpc-0a1b2c3d").leaf("subnetId", "subnet-0a1b2c3d");
    }
    if !instance.reason.is_empty() {
        xml.node("stateReason", |xml| {
            xml.leaf("code", instance.reason).leaf("message", instance.reason);
        });
    }
    if let Some(reservation) = &instance.capacity_reservation {
        xml.leaf("capacityReservationId", reservation);
    }
    if instance.purchase == Purchase::Spot {
        xml.leaf("instanceLifecycle", "spot");
    }
    xml.list(("tagSet", "item"), &instance.tags, |xml, (key, value)| {
        xml.leaf("key", key).leaf("value", value);
    });
}
