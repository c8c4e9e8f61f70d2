//! An AWS in which an event is true: its groups, hooks and instances exist and wait; their EKS cluster does not.
//!
//! The least world in which every departure and arrival can come to its end without an API server: EKS knows no such
//! cluster, so there is nothing to drain, and a hook is to be answered. Calls are recorded; whatever else is asked
//! is denied, so that a call too many shows.

use crate::event::{self, Action, Instance};
use crate::http::{Request, Response, serve};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// What this AWS knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// The lifecycle actions that wait; their groups and hooks are there too.
    pub actions: Vec<Action>,
    /// EC2's instances; the Auto Scaling groups that they name are there too.
    pub instances: Vec<Instance>,
    /// Operations that fail with a 500.
    pub broken: BTreeSet<&'static str>,
}

impl Account {
    /// An AWS in which this payload is true.
    pub fn of(payload: &Value) -> Self {
        let (actions, instances) = (event::actions(payload), event::instances(payload));
        Self { actions, instances, broken: BTreeSet::new() }
    }

    /// The names of all groups.
    fn asgs(&self) -> BTreeSet<&str> {
        let of_actions = self.actions.iter().map(|action| action.asg.as_str());
        let of_instances = self.instances.iter().filter_map(|instance| instance.asg.as_deref());
        of_actions.chain(of_instances).collect()
    }

    /// The instances that a request asks for, by id or by capacity reservation.
    fn asked<'a>(&'a self, body: &str) -> Vec<&'a Instance> {
        let names = |instance: &&Instance| {
            let reservation = instance.reservation.as_deref();
            body.contains(&instance.id) || reservation.is_some_and(|id| body.contains(id))
        };
        self.instances.iter().filter(names).collect()
    }
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

/// Auto Scaling and EC2 name the operation in the form, SQS and EventBridge in a header; EKS by method and path.
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
    match operation {
        "DescribeAutoScalingGroups" => {
            result(operation, &list("AutoScalingGroups", &groups(account)))
        }
        "DescribeLifecycleHooks" => result(operation, &list("LifecycleHooks", &hooks(account))),
        "DescribeAutoScalingInstances" => {
            result(operation, &list("AutoScalingInstances", &memberships(account, &call.body)))
        }
        "CompleteLifecycleAction" | "RecordLifecycleActionHeartbeat" => result(operation, ""),
        "DescribeInstances" => xml(&instances(&account.asked(&call.body))),
        "DescribeInstanceStatus" => xml(&statuses(&account.asked(&call.body))),
        "DescribeCluster" => {
            let body = r#"{"__type":"ResourceNotFoundException","message":"No cluster found"}"#;
            let mut response = Response::new(404, "application/json", body);
            response.headers.push(("x-amzn-errortype", "ResourceNotFoundException".to_owned()));
            response
        }
        "ChangeMessageVisibilityBatch" => hidden(&call.body),
        "SendMessage" => amz_json(&json!({ "MessageId": "1" })),
        "PutEvents" => put(&call.body),
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
    let group = |name: &str| {
        format!(
            "<AutoScalingGroupName>{name}</AutoScalingGroupName>\
             <Tags><member><Key>ebbtide.dev/managed</Key><Value>true</Value></member></Tags>"
        )
    };
    account.asgs().into_iter().map(group).collect()
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

fn memberships(account: &Account, body: &str) -> BTreeSet<String> {
    let membership = |action: &Action| {
        format!(
            "<InstanceId>{}</InstanceId><AutoScalingGroupName>{}</AutoScalingGroupName>\
             <LifecycleState>{}</LifecycleState>",
            action.instance, action.asg, action.state
        )
    };
    let asked = account.actions.iter().filter(|action| body.contains(&action.instance));
    asked.map(membership).collect()
}

fn instances(asked: &[&Instance]) -> String {
    let tag =
        |key: &str, value: &str| format!("<item><key>{key}</key><value>{value}</value></item>");
    let item = |instance: &&Instance| {
        let Instance { id, state, asg, .. } = instance;
        let asg = asg.as_deref().map(|name| tag("aws:autoscaling:groupName", name));
        format!(
            "<item><instancesSet><item><instanceId>{id}</instanceId>\
             <instanceState><name>{state}</name></instanceState>\
             <privateDnsName>ip-10-0-3-41.eu-west-1.compute.internal</privateDnsName>\
             <launchTime>2019-11-20T08:00:00.000Z</launchTime>\
             <tagSet>{}{}</tagSet></item></instancesSet></item>",
            tag("kubernetes.io/cluster/shop", "owned"),
            asg.unwrap_or_default(),
        )
    };
    let items: String = asked.iter().map(item).collect();
    format!(
        "<DescribeInstancesResponse><reservationSet>{items}</reservationSet></DescribeInstancesResponse>"
    )
}

/// Each of them with a reboot ahead, if anything is.
fn statuses(asked: &[&Instance]) -> String {
    let item = |instance: &&Instance| {
        let event = "<item><code>system-reboot</code><description>scheduled</description></item>";
        format!(
            "<item><instanceId>{}</instanceId><eventsSet>{}</eventsSet></item>",
            instance.id,
            if instance.is_scheduled { event } else { "" }
        )
    };
    let items: String = asked.iter().map(item).collect();
    format!(
        "<DescribeInstanceStatusResponse><instanceStatusSet>{items}</instanceStatusSet>\
         </DescribeInstanceStatusResponse>"
    )
}

fn amz_json(body: &Value) -> Response {
    Response::new(200, "application/x-amz-json-1.0", body.to_string())
}

/// An answer for each of a request's entries.
fn each(body: &str, entry: impl Fn(&Value) -> Value) -> Vec<Value> {
    let asked: Value = serde_json::from_str(body).unwrap_or_default();
    asked["Entries"].as_array().into_iter().flatten().map(entry).collect()
}

/// Every entry succeeds.
fn hidden(body: &str) -> Response {
    let done = each(body, |entry| json!({ "Id": entry["Id"] }));
    amz_json(&json!({ "Successful": done, "Failed": [] }))
}

/// Every event is taken.
fn put(body: &str) -> Response {
    let taken = each(body, |_| json!({ "EventId": "11710aed-b79e-4468-a20b-bb3c0c3b4860" }));
    amz_json(&json!({ "FailedEntryCount": 0, "Entries": taken }))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
