//! An AWS in which an event is true: its groups, hooks and instances exist and wait; their EKS cluster does not.
//!
//! The least world in which every lifecycle action can come to its end without an API server: EKS knows no such
//! cluster, so there is nothing to drain, and the hook is to be answered. Calls are recorded; whatever else is asked
//! is denied, so that a call too many shows.

use crate::event::Action;
use crate::http::{Request, Response, serve};
use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// What this AWS knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// The lifecycle actions that wait; their groups, hooks and instances are all there is.
    pub actions: Vec<Action>,
    /// Operations that fail with a 500.
    pub broken: BTreeSet<&'static str>,
}

/// One call that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The operation: `DescribeInstances`.
    pub operation: String,
    /// The body as it was sent: a form, or JSON.
    pub body: String,
}

/// The services, listening.
#[derive(Debug)]
pub struct Aws {
    address: SocketAddr,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Aws {
    /// Begins to listen.
    pub fn start(account: Account) -> io::Result<Self> {
        let calls = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&calls);
        let address = serve(move |request| {
            let call = Call { operation: operation(request), body: request.body.clone() };
            let response = answer(&account, &call);
            log.lock().unwrap_or_else(PoisonError::into_inner).push(call);
            Some(response)
        })?;
        Ok(Self { address, calls })
    }

    /// What `AWS_ENDPOINT_URL` is to be set to.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The calls so far, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Auto Scaling and EC2 name the operation in the form, SQS in a header; EKS by method and path.
fn operation(request: &Request) -> String {
    let of_form = request.body.split('&').find_map(|pair| pair.strip_prefix("Action="));
    let of_header =
        request.headers.get("x-amz-target").and_then(|target| target.rsplit('.').next());
    let of_path = || match request.path.strip_prefix("/clusters/") {
        Some(_) => "DescribeCluster".to_owned(),
        None => [request.method.as_str(), request.path.as_str()].join(" "),
    };
    of_header.or(of_form).map_or_else(of_path, str::to_owned)
}

fn answer(account: &Account, call: &Call) -> Response {
    let operation = call.operation.as_str();
    if account.broken.contains(operation) {
        return Response::new(500, "text/plain", "broken on purpose");
    }
    let asked: Vec<&Action> =
        account.actions.iter().filter(|action| call.body.contains(&action.instance)).collect();
    match operation {
        "DescribeAutoScalingGroups" => {
            result(operation, &list("AutoScalingGroups", &groups(account)))
        }
        "DescribeLifecycleHooks" => result(operation, &list("LifecycleHooks", &hooks(account))),
        "DescribeAutoScalingInstances" => {
            result(operation, &list("AutoScalingInstances", &memberships(&asked)))
        }
        "CompleteLifecycleAction" | "RecordLifecycleActionHeartbeat" => result(operation, ""),
        "DescribeInstances" => xml(&instances(&asked)),
        "DescribeCluster" => {
            let body = r#"{"__type":"ResourceNotFoundException","message":"No cluster found"}"#;
            let mut response = Response::new(404, "application/json", body);
            response.headers.push(("x-amzn-errortype", "ResourceNotFoundException".to_owned()));
            response
        }
        "ChangeMessageVisibilityBatch" => hidden(&call.body),
        "SendMessage" => Response::new(200, "application/x-amz-json-1.0", r#"{"MessageId":"1"}"#),
        other => Response::new(
            403,
            "text/xml",
            format!(
                "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code>\
                 <Message>this AWS has no {other}</Message></Error></ErrorResponse>"
            ),
        ),
    }
}

fn xml(body: &str) -> Response {
    Response::new(200, "text/xml", body)
}

fn result(operation: &str, body: &str) -> Response {
    xml(&format!(
        "<{operation}Response><{operation}Result>{body}</{operation}Result></{operation}Response>"
    ))
}

/// Each member once: several actions may share a group, a hook or an instance.
fn list(name: &str, members: &BTreeSet<String>) -> String {
    let members: String =
        members.iter().map(|member| ["<member>", member, "</member>"].concat()).collect();
    format!("<{name}>{members}</{name}>")
}

fn groups(account: &Account) -> BTreeSet<String> {
    let group = |action: &Action| {
        format!(
            "<AutoScalingGroupName>{}</AutoScalingGroupName>\
             <Tags><member><Key>ebbtide.dev/managed</Key><Value>true</Value></member></Tags>",
            action.asg
        )
    };
    account.actions.iter().map(group).collect()
}

fn hooks(account: &Account) -> BTreeSet<String> {
    let hook = |action: &Action| {
        format!(
            "<LifecycleHookName>{}</LifecycleHookName>\
             <AutoScalingGroupName>{}</AutoScalingGroupName>\
             <LifecycleTransition>{}</LifecycleTransition>\
             <NotificationMetadata>{}</NotificationMetadata>\
             <HeartbeatTimeout>600</HeartbeatTimeout><GlobalTimeout>60000</GlobalTimeout>",
            action.hook,
            action.asg,
            action.transition,
            escaped(&action.metadata)
        )
    };
    account.actions.iter().map(hook).collect()
}

fn memberships(asked: &[&Action]) -> BTreeSet<String> {
    let membership = |action: &&Action| {
        format!(
            "<InstanceId>{}</InstanceId><AutoScalingGroupName>{}</AutoScalingGroupName>\
             <LifecycleState>{}</LifecycleState>",
            action.instance, action.asg, action.state
        )
    };
    asked.iter().map(membership).collect()
}

fn instances(asked: &[&Action]) -> String {
    let ids: BTreeSet<&str> = asked.iter().map(|action| action.instance.as_str()).collect();
    let item = |id: &str| {
        format!(
            "<item><instancesSet><item><instanceId>{id}</instanceId>\
             <instanceState><code>16</code><name>running</name></instanceState>\
             <privateDnsName>ip-10-0-3-41.eu-west-1.compute.internal</privateDnsName>\
             <launchTime>2026-11-20T08:00:00.000Z</launchTime></item></instancesSet></item>"
        )
    };
    let items: String = ids.into_iter().map(item).collect();
    format!(
        "<DescribeInstancesResponse><reservationSet>{items}</reservationSet></DescribeInstancesResponse>"
    )
}

/// Every entry succeeds.
fn hidden(body: &str) -> Response {
    let asked: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let done: Vec<serde_json::Value> = asked["Entries"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|entry| serde_json::json!({ "Id": entry["Id"] }))
        .collect();
    let body = serde_json::json!({ "Successful": done, "Failed": [] });
    Response::new(200, "application/x-amz-json-1.0", body.to_string())
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
