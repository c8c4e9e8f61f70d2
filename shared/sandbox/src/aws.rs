//! The account: Auto Scaling, EC2, ELBv2, SQS, EventBridge, Health, EKS and STS, with state and over their real protocols.
//!
//! [`serve`] answers what an SDK client sends; each service keeps its state in a module of its own, and
//! they move each other along through the world's event queue:
//!
//! ```text
//!   terminate ─> autoscaling: attached groups drain ─> Terminating:Wait ─> events ─> sqs ─> (Lambda)
//!                     │              elbv2                    │ answered, or timed out
//!                     └─> replacement: ec2 ─> node            └─> Terminating:Proceed ─> ec2 ─> host dies
//! ```

pub mod autoscaling;
pub mod budget;
pub mod ec2;
pub mod eks;
pub mod elbv2;
pub mod events;
pub mod health;
pub mod protocol;
pub mod sqs;
pub mod sts;

use crate::world::{Call, World};
use autoscaling::Autoscaling;
use budget::Budgets;
use ec2::Ec2;
use eks::Eks;
use elbv2::Elb;
use events::EventBridge;
use health::Health;
use protocol::{Form, Refusal, Service, failure, success};
use sqs::Sqs;
use std::collections::BTreeMap;
use sts::Sts;

/// Something in the account that happens by itself.
#[derive(Clone, Debug)]
pub enum AwsEvent {
    /// A drain that ended, a hook that times out, a launch.
    Autoscaling(autoscaling::Step),
    /// An instance that reaches its next state.
    Ec2(ec2::Step),
    /// A health check, a drain that ends, a load balancer that catches up.
    Elb(elbv2::Step),
    /// A message reaches a queue.
    Deliver {
        /// The queue's name.
        queue: String,
        /// The message's body.
        body: String,
    },
}

/// What an SDK client sent.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The host name.
    pub host: String,
    /// The path.
    pub path: String,
    /// The HTTP method.
    pub method: String,
    /// Headers by lower-case name.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

/// What the service answers.
#[derive(Clone, Debug)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// The content type.
    pub content_type: &'static str,
    /// The other headers: the request id, and the error code of the JSON protocols.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// The account.
#[derive(Clone, Debug)]
pub struct Aws {
    /// The account's id.
    pub account: String,
    /// The Region.
    pub region: String,
    /// Auto Scaling groups, their hooks and every lifecycle action.
    pub autoscaling: Autoscaling,
    /// What the account may ask for.
    pub budgets: Budgets,
    /// Instances.
    pub ec2: Ec2,
    /// Clusters.
    pub eks: Eks,
    /// Target groups.
    pub elb: Elb,
    /// Rules, and how reliably events arrive.
    pub events: EventBridge,
    /// Scheduled changes.
    pub health: Health,
    /// Queues.
    pub sqs: Sqs,
    /// Access keys.
    pub sts: Sts,
}

impl Default for Aws {
    fn default() -> Self {
        Self {
            account: "123456789012".to_owned(),
            region: "eu-central-1".to_owned(),
            autoscaling: Autoscaling::default(),
            budgets: Budgets::default(),
            ec2: Ec2::default(),
            eks: Eks::default(),
            elb: Elb::default(),
            events: EventBridge::default(),
            health: Health::default(),
            sqs: Sqs::default(),
            sts: Sts::default(),
        }
    }
}

impl Aws {
    pub(crate) fn happen(world: &mut World, event: AwsEvent) {
        match event {
            AwsEvent::Autoscaling(step) => Autoscaling::happen(world, step),
            AwsEvent::Ec2(step) => Ec2::happen(world, &step),
            AwsEvent::Elb(step) => Elb::happen(world, step),
            AwsEvent::Deliver { queue, body } => Sqs::send(world, &queue, &body),
        }
    }
}

/// Answers one request and records the call.
pub fn serve(world: &mut World, process: u32, request: &Request) -> Response {
    let request_id = uuid(&mut world.rng);
    let Some(service) = Service::of(request) else {
        let refusal = Refusal::new(403, "UnknownService", "no service has this host");
        return failure(Service::Eks, &refusal, &request_id);
    };
    let form = match service {
        Service::Autoscaling | Service::Ec2 | Service::Elb | Service::Sts => Form::of(request),
        Service::Eks | Service::Events | Service::Sqs => Form::default(),
    };
    let (action, subject) = name(service, request, &form);
    let who = Sts::caller(&world.aws, request);
    let admitted = world.aws.budgets.admit((service, &action), &who, world.now);
    let outcome = admitted.and_then(|()| match service {
        Service::Autoscaling => autoscaling::api::serve(world, process, &action, &form),
        Service::Ec2 => ec2::api::serve(world, &action, &form),
        Service::Eks => eks::serve(world, request),
        Service::Elb => elbv2::api::serve(world, &action, &form),
        Service::Events => events::api::serve(world, process, &action, &request.body),
        Service::Sqs => sqs::api::serve(world, &action, &request.body),
        Service::Sts => sts::serve(&world.aws, &action, request),
    });
    let response = match outcome {
        Ok(body) => success(service, &action, &body, &request_id),
        Err(refusal) => failure(service, &refusal, &request_id),
    };
    world.calls.push(Call {
        at: world.now,
        process,
        write: !["Describe", "Get", "List"].iter().any(|verb| action.starts_with(verb)),
        operation: format!("{}:{action}", service.name()),
        subject,
        status: response.status,
    });
    response
}

/// Answers `request` with an error of the service's own, for faults that the world injects.
pub fn refuse(world: &mut World, request: &Request, refusal: &Refusal) -> Response {
    let request_id = uuid(&mut world.rng);
    failure(Service::of(request).unwrap_or(Service::Eks), refusal, &request_id)
}

/// The action that a request asks for, and what it is about.
fn name(service: Service, request: &Request, form: &Form) -> (String, String) {
    match service {
        Service::Autoscaling | Service::Ec2 | Service::Elb | Service::Sts => {
            (form.get("Action").unwrap_or_default().to_owned(), form.subject())
        }
        Service::Events => {
            let target = request.headers.get("x-amz-target").map(String::as_str);
            let action = target.and_then(|target| target.strip_prefix("AWSEvents."));
            (action.unwrap_or_default().to_owned(), events::api::subject(&request.body))
        }
        Service::Sqs => {
            let target = request.headers.get("x-amz-target").map(String::as_str);
            let action = target.and_then(|target| target.strip_prefix("AmazonSQS."));
            (action.unwrap_or_default().to_owned(), sqs::api::subject(&request.body))
        }
        Service::Eks => ("DescribeCluster".to_owned(), request.path.clone()),
    }
}

/// A random UUID, from the world's own chance.
pub(crate) fn uuid(rng: &mut fastrand::Rng) -> String {
    let bits = rng.u128(..);
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        bits >> 96,
        (bits >> 80) & 0xffff,
        (bits >> 68) & 0xfff,
        (bits >> 52) & 0x3fff | 0x8000,
        bits & 0xffff_ffff_ffff
    )
}
