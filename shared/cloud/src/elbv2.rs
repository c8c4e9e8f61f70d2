//! Elastic Load Balancing v2: target groups, the health of their targets, in and out.
//!
//! Deregistering must name the port (and zone) that a target was registered with, so both writes take
//! exact targets, as [`health`] returned them. Both may be repeated without harm.

use crate::autoscaling::more;
use crate::error::{AnswerError, Call, CloudError};
use aws_sdk_elasticloadbalancingv2::Client;
use aws_sdk_elasticloadbalancingv2::types::{
    ProtocolEnum, TargetDescription, TargetGroup, TargetHealthDescription, TargetTypeEnum,
};
use decision::id::TargetGroupArn;
use decision::snapshot::aws::{Balancer, Target, TargetState};
use decision::step::{TargetChange, TargetId};
use std::collections::BTreeMap;
use std::time::Duration;

/// Target groups in one request. AWS names no limit for this call; 20 is what DescribeTags takes.
const GROUPS_IN_A_REQUEST_MAX: usize = 20;

/// Pages of one list. What 20 ARNs ask for fits into one; the bound ends a list that never ends.
const PAGES_MAX: usize = 5;

/// Targets in one write. The AWS Load Balancer Controller sends as many; a departure has a few. More
/// may be refused; half of it doubles the writes, of which an account has 4 a second.
const TARGETS_IN_A_REQUEST_MAX: usize = 200;

/// What a target group is, as far as it never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupFacts {
    /// Which kind of load balancer sends to it, by its protocol: also while none is attached.
    pub balancer: Balancer,
    /// What its targets are.
    pub target_type: TargetType,
    /// The port that a target gets when none is named; absent for Lambda functions.
    pub default_port: Option<u16>,
}

/// `TargetType`: what the ids of a group's targets mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetType {
    /// EC2 instance ids.
    Instance,
    /// IP addresses.
    Ip,
    /// A Lambda function's ARN.
    Lambda,
    /// An Application Load Balancer's ARN.
    Alb,
}

/// DescribeTargetHealth: all the targets of one group. Functions (which have no port) are left out.
pub async fn health(client: &Client, group: &TargetGroupArn) -> Result<Vec<Target>, CloudError> {
    let call = Call::new("describe target health of", group);
    let request = client.describe_target_health().target_group_arn(group.as_str());
    let answer = request.send().await.map_err(|error| call.failed(error))?;
    let targets = answer.target_health_descriptions().iter().filter_map(|described| {
        let is_function = described.target().is_some_and(is_function);
        (!is_function).then(|| target(described))
    });
    targets.collect::<Result<_, _>>().map_err(|error: AnswerError| call.unreadable(error))
}

/// DescribeTargetGroups: what each of the groups is. One that does not exist fails its whole request
/// (class `Gone`).
pub async fn describe(
    client: &Client,
    groups: &[TargetGroupArn],
) -> Result<BTreeMap<TargetGroupArn, GroupFacts>, CloudError> {
    let mut found = BTreeMap::new();
    for chunk in groups.chunks(GROUPS_IN_A_REQUEST_MAX) {
        let call = Call::about("describe target groups", chunk);
        let arns: Vec<String> = chunk.iter().map(TargetGroupArn::to_string).collect();
        let mut next = None;
        for page in 1.. {
            let request = client.describe_target_groups();
            let request = request.set_target_group_arns(Some(arns.clone())).set_marker(next);
            let answer = request.send().await.map_err(|error| call.failed(error))?;
            for described in answer.target_groups() {
                let entry = facts(described).map_err(|error| call.unreadable(error))?;
                found.extend([entry]);
            }
            next = more(answer.next_marker, page, PAGES_MAX).map_err(|e| call.unreadable(e))?;
            if next.is_none() {
                break;
            }
        }
    }
    Ok(found)
}

/// DescribeTargetGroupAttributes: how long a deregistered target is shown as draining, 0–3,600 s.
pub async fn deregistration_delay(
    client: &Client,
    group: &TargetGroupArn,
) -> Result<Duration, CloudError> {
    const KEY: &str = "deregistration_delay.timeout_seconds";
    let call = Call::new("describe attributes of target group", group);
    let request = client.describe_target_group_attributes().target_group_arn(group.as_str());
    let answer = request.send().await.map_err(|error| call.failed(error))?;
    let attribute = answer.attributes().iter().find(|attribute| attribute.key() == Some(KEY));
    let value = attribute.and_then(|attribute| attribute.value());
    let value = value.ok_or_else(|| call.unreadable(AnswerError::Missing(KEY)))?;
    let seconds = value.parse().map_err(|_| {
        call.unreadable(AnswerError::Unknown { what: KEY, value: value.to_owned() })
    })?;
    Ok(Duration::from_secs(seconds))
}

/// DeregisterTargets. Targets that are not registered are no error.
pub async fn deregister(client: &Client, change: &TargetChange) -> Result<(), CloudError> {
    for chunk in change.targets.chunks(TARGETS_IN_A_REQUEST_MAX) {
        let call = Call::new("deregister targets from", written(change, chunk));
        let request = client.deregister_targets().target_group_arn(change.group.as_str());
        let request = request.set_targets(Some(chunk.iter().map(wire).collect()));
        request.send().await.map_err(|error| call.failed(error))?;
    }
    Ok(())
}

/// RegisterTargets. An instance that does not run is refused (class `Gone`).
pub async fn register(client: &Client, change: &TargetChange) -> Result<(), CloudError> {
    for chunk in change.targets.chunks(TARGETS_IN_A_REQUEST_MAX) {
        let call = Call::new("register targets with", written(change, chunk));
        let request = client.register_targets().target_group_arn(change.group.as_str());
        let request = request.set_targets(Some(chunk.iter().map(wire).collect()));
        request.send().await.map_err(|error| call.failed(error))?;
    }
    Ok(())
}

fn is_function(target: &TargetDescription) -> bool {
    target.port().is_none() && target.id().is_some_and(|id| id.starts_with("arn:"))
}

fn target(described: &TargetHealthDescription) -> Result<Target, AnswerError> {
    let target = described.target().ok_or(AnswerError::Missing("Target"))?;
    let health = described.target_health().and_then(|health| health.state());
    Ok(Target {
        id: target.id().ok_or(AnswerError::Missing("Target.Id"))?.to_owned(),
        port: port(target.port())?.ok_or(AnswerError::Missing("Target.Port"))?,
        zone: target.availability_zone().map(str::to_owned),
        state: state(health.ok_or(AnswerError::Missing("TargetHealth.State"))?.as_str())?,
    })
}

/// An unknown state is an error: it may be one in which a target serves.
fn state(text: &str) -> Result<TargetState, AnswerError> {
    match text {
        "initial" => Ok(TargetState::Initial),
        "healthy" => Ok(TargetState::Healthy),
        "unhealthy" | "unhealthy.draining" => Ok(TargetState::Unhealthy),
        "draining" => Ok(TargetState::Draining),
        "unused" => Ok(TargetState::Unused),
        "unavailable" => Ok(TargetState::Unavailable),
        _ => Err(AnswerError::Unknown { what: "target state", value: text.to_owned() }),
    }
}

fn facts(described: &TargetGroup) -> Result<(TargetGroupArn, GroupFacts), AnswerError> {
    let arn = described.target_group_arn().ok_or(AnswerError::Missing("TargetGroupArn"))?;
    let target_type = described.target_type().ok_or(AnswerError::Missing("TargetType"))?;
    let facts = GroupFacts {
        balancer: balancer(described.protocol().map(ProtocolEnum::as_str)),
        target_type: read_target_type(target_type)?,
        default_port: port(described.port())?,
    };
    Ok((TargetGroupArn::parse(arn)?, facts))
}

fn balancer(protocol: Option<&str>) -> Balancer {
    match protocol {
        Some("HTTP" | "HTTPS") => Balancer::Application,
        Some("TCP" | "TLS" | "UDP" | "TCP_UDP" | "QUIC" | "TCP_QUIC") => Balancer::Network,
        _ => Balancer::Other,
    }
}

fn read_target_type(target_type: &TargetTypeEnum) -> Result<TargetType, AnswerError> {
    match target_type.as_str() {
        "instance" => Ok(TargetType::Instance),
        "ip" => Ok(TargetType::Ip),
        "lambda" => Ok(TargetType::Lambda),
        "alb" => Ok(TargetType::Alb),
        other => Err(AnswerError::Unknown { what: "TargetType", value: other.to_owned() }),
    }
}

fn port(value: Option<i32>) -> Result<Option<u16>, AnswerError> {
    let port = value.map(|value| {
        u16::try_from(value)
            .map_err(|_| AnswerError::Unknown { what: "port", value: value.to_string() })
    });
    port.transpose()
}

fn wire(target: &TargetId) -> TargetDescription {
    TargetDescription::builder()
        .id(&target.id)
        .port(i32::from(target.port))
        .set_availability_zone(target.zone.clone())
        .build()
}

/// The group and what is written about: `arn:… (i-1:8080, i-1:8081 and 3 more)`.
fn written(change: &TargetChange, targets: &[TargetId]) -> String {
    const NAMED_MAX: usize = 3;
    let named =
        targets.iter().take(NAMED_MAX).map(|target| format!("{}:{}", target.id, target.port));
    let mut names = named.collect::<Vec<String>>().join(", ");
    if targets.len() > NAMED_MAX {
        names = format!("{names} and {} more", targets.len() - NAMED_MAX);
    }
    format!("{} ({names})", change.group)
}
