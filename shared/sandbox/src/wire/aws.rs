//! The wire to AWS: an HTTP connector, and the code with which each service refuses.

use super::{Answer, ConnectionReset, Passage};
use crate::aws::budget::throttled;
use crate::aws::protocol::{Refusal, Service};
use crate::aws::{self, Request, Response};
use crate::fault::{Fault, Wire};
use crate::world::{Sandbox, World};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use std::collections::BTreeMap;
use std::fmt;

/// The reads that AWS may answer from a copy; others are consistent.
const STALE_READS: [&str; 4] = [
    "elasticloadbalancing:DescribeTargetHealth",
    "autoscaling:DescribeAutoScalingInstances",
    "autoscaling:DescribeAutoScalingGroups",
    "ec2:DescribeInstances",
];

/// The oldest copy that a stale read is answered from.
const STALE_MS_MAX: i64 = 1_000;

/// The wire to AWS of one process.
#[derive(Clone, Debug)]
pub struct AwsWire {
    sandbox: Sandbox,
    process: u32,
}

impl AwsWire {
    pub(crate) fn new(sandbox: Sandbox, process: u32) -> Self {
        Self { sandbox, process }
    }
}

impl HttpClient for AwsWire {
    fn http_connector(
        &self,
        _settings: &HttpConnectorSettings,
        _components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for AwsWire {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let wire = self.clone();
        HttpConnectorFuture::new(async move { wire.exchange(&request).await })
    }
}

impl AwsWire {
    async fn exchange(&self, request: &HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let request = plain(request)?;
        let answer = exchange(&self.sandbox, self.process, &request).await;
        respond(answer.map_err(|broken| match broken {
            Broken::Host => ConnectorError::user(broken.into()),
            Broken::Reset(reset) => ConnectorError::io(reset.into()),
        })?)
    }
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Broken {
    /// No service has this host, nor is one named by the signature.
    Host,
    /// The connection broke.
    Reset(ConnectionReset),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("no service has this host"),
            Self::Reset(reset) => reset.fmt(f),
        }
    }
}

impl std::error::Error for Broken {}

/// Takes one request to its service and the answer back, past what goes wrong on the way: what both the
/// connector below the SDK and the server on loopback do.
pub(crate) async fn exchange(
    sandbox: &Sandbox,
    process: u32,
    request: &Request,
) -> Result<Answer, Broken> {
    let service = Service::of(request).ok_or(Broken::Host)?;
    let operation = format!("{}:{}", service.name(), action(request));
    let write = !is_read(&operation);
    let (sandbox, subject) = (sandbox.clone(), String::new());
    let passage = Passage { sandbox, process, wire: Wire::Aws, operation, subject, write };
    let effect = |world: &mut World, fault| {
        let stale = fault == Some(Fault::Stale) && STALE_READS.contains(&&*passage.operation);
        if stale {
            let age = world.rng.i64(1..=STALE_MS_MAX);
            world.in_the_past(age, |world| aws::serve(world, process, request))
        } else {
            if write {
                world.remember_aws();
            }
            aws::serve(world, process, request)
        }
        .into()
    };
    let refuse =
        |world: &mut World, fault| aws::refuse(world, request, &refusal(service, fault)).into();
    passage.pass(effect, refuse).await.map_err(Broken::Reset)
}

impl From<Response> for Answer {
    fn from(response: Response) -> Self {
        let Response { status, content_type, headers, body } = response;
        Self { status, content_type, headers, body }
    }
}

/// The request as the world reads it.
fn plain(request: &HttpRequest) -> Result<Request, ConnectorError> {
    let uri: http::Uri = request
        .uri()
        .parse()
        .map_err(|error: http::uri::InvalidUri| ConnectorError::user(error.into()))?;
    let headers: BTreeMap<String, String> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let host = uri.host().map(str::to_owned).or_else(|| headers.get("host").cloned());
    Ok(Request {
        host: host.unwrap_or_default(),
        path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        method: request.method().to_owned(),
        headers,
        body: request.body().bytes().unwrap_or_default().to_vec(),
    })
}

/// The operation's name: the `Action` of the query protocol, the target of the JSON one, or EKS's path.
fn action(request: &Request) -> String {
    if let Some(target) = request.headers.get("x-amz-target") {
        return target.rsplit('.').next().unwrap_or_default().to_owned();
    }
    let query = request.path.split_once('?').map_or("", |(_, query)| query);
    form_urlencoded::parse(&request.body)
        .chain(form_urlencoded::parse(query.as_bytes()))
        .find(|(name, _)| name == "Action")
        .map_or_else(|| eks_action(request), |(_, action)| action.into_owned())
}

fn eks_action(request: &Request) -> String {
    let cluster = request.path.trim_start_matches("/clusters/");
    if request.method == "GET" && !cluster.contains('/') {
        return "DescribeCluster".to_owned();
    }
    format!("{} {}", request.method, request.path)
}

fn is_read(operation: &str) -> bool {
    let action = operation.split(':').nth(1).unwrap_or_default();
    ["Describe", "Get", "List"].iter().any(|verb| action.starts_with(verb))
}

/// What `service` says when it throttles or fails, with its own code.
fn refusal(service: Service, fault: Fault) -> Refusal {
    if fault == Fault::Throttled {
        return throttled(service);
    }
    let message = "An internal error has occurred";
    match service {
        Service::Ec2 => Refusal::new(500, "InternalError", message),
        Service::Eks => Refusal::new(500, "ServerException", message),
        Service::Autoscaling | Service::Elb | Service::Events | Service::Sqs | Service::Sts => {
            Refusal::new(500, "InternalFailure", message)
        }
    }
}

fn respond(answer: Answer) -> Result<HttpResponse, ConnectorError> {
    let status = answer.status.try_into().map_err(|_| ConnectorError::user("status".into()))?;
    let mut response = HttpResponse::new(status, SdkBody::from(answer.body));
    let headers = response.headers_mut();
    headers.insert("content-type", answer.content_type);
    for (name, value) in answer.headers {
        headers.insert(name, value);
    }
    Ok(response)
}
