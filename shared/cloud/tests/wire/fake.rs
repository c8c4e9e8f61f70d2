//! The wire beneath the clients: canned answers in order, and a log of what was sent.

use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use cloud::clients::{Clients, Endpoints, Settings, credentials};
use cloud::{Region, SharedCredentialsProvider, SharedTimeSource, TimeSource};
use decision::id::{AsgName, InstanceId, TargetGroupArn};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

/// 2026-11-22T09:30:00Z, in seconds since the epoch.
pub(crate) const NOW_SECONDS: u64 = 1_795_339_800;

/// What the service does with one request.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// It answers at once.
    Of(u16, String),
    /// It answers at once, with one header more.
    With(u16, (&'static str, &'static str), String),
    /// It never answers.
    Silence,
    /// The connection breaks.
    Broken,
}

/// A request as it was sent.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) url: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Sent {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let header = self.headers.iter().find(|(key, _)| key == name);
        header.map(|(_, value)| value.as_str())
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Wire {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    sent: Arc<Mutex<Vec<Sent>>>,
}

impl Wire {
    pub(crate) fn answering<const N: usize>(answers: [Answer; N]) -> Self {
        Self { answers: Arc::new(Mutex::new(answers.into())), sent: Arc::default() }
    }

    /// Clients over this wire, in eu-central-1, at half past nine.
    pub(crate) fn clients(&self) -> Clients {
        self.clients_in("eu-central-1", Endpoints::default())
    }

    pub(crate) fn clients_in(&self, region: &'static str, endpoints: Endpoints) -> Clients {
        Clients::new(&self.settings(region, endpoints))
    }

    pub(crate) fn settings(&self, region: &'static str, endpoints: Endpoints) -> Settings {
        let wire = self.clone();
        Settings {
            region: Region::new(region),
            credentials: SharedCredentialsProvider::new(credentials(
                "AKIDEXAMPLE",
                "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
                Some("IQoJb3JpZ2luX2VjE+/=token"),
            )),
            http: http_client_fn(move |_, _| SharedHttpConnector::new(wire.clone())),
            endpoints,
            time: SharedTimeSource::new(HalfPastNine),
        }
    }

    /// What was sent, after making sure that every answer was asked for and no more.
    #[track_caller]
    pub(crate) fn sent(&self) -> Vec<Sent> {
        assert_eq!(self.answers.lock().unwrap().len(), 0, "answers that nobody asked for");
        self.sent.lock().unwrap().clone()
    }

    #[track_caller]
    pub(crate) fn bodies(&self) -> Vec<String> {
        self.sent().into_iter().map(|sent| sent.body).collect()
    }
}

impl HttpConnector for Wire {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let body = String::from_utf8(request.body().bytes().unwrap_or_default().to_vec()).unwrap();
        let headers = request.headers().iter().map(|(key, value)| (key.into(), value.into()));
        let sent = Sent { url: request.uri().to_owned(), headers: headers.collect(), body };
        self.sent.lock().unwrap().push(sent);
        let answer = self.answers.lock().unwrap().pop_front().expect("one request too many");
        HttpConnectorFuture::new(async move {
            tokio::time::sleep(Duration::from_millis(2)).await;
            match answer {
                Answer::Of(status, body) => Ok(response(status, None, body)),
                Answer::With(status, header, body) => Ok(response(status, Some(header), body)),
                Answer::Silence => std::future::pending().await,
                Answer::Broken => Err(ConnectorError::io("connection reset by peer".into())),
            }
        })
    }
}

fn response(
    status: u16,
    header: Option<(&'static str, &'static str)>,
    body: String,
) -> HttpResponse {
    let mut response = HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body));
    if let Some((name, value)) = header {
        response.headers_mut().insert(name, value);
    }
    response
}

#[derive(Debug)]
struct HalfPastNine;

impl TimeSource for HalfPastNine {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(NOW_SECONDS)
    }
}

/// An error of Auto Scaling and ELB, as both write it.
pub(crate) fn query_error(status: u16, code: &str, message: &str) -> Answer {
    Answer::Of(
        status,
        format!(
            "<ErrorResponse xmlns=\"http://autoscaling.amazonaws.com/doc/2011-01-01/\"><Error>\
             <Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>\
             <RequestId>8557d617-113e-11e7-9575-896cee602cd3</RequestId></ErrorResponse>"
        ),
    )
}

/// An error of EKS, EventBridge and SQS.
pub(crate) fn json_error(status: u16, code: &'static str, message: &str) -> Answer {
    let body = serde_json::json!({ "__type": code, "message": message }).to_string();
    Answer::With(status, ("x-amzn-errortype", code), body)
}

pub(crate) fn instance(text: &str) -> InstanceId {
    InstanceId::parse(text).unwrap()
}

pub(crate) fn asg(text: &str) -> AsgName {
    AsgName::parse(text).unwrap()
}

pub(crate) fn group(name: &str) -> TargetGroupArn {
    let arn = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup";
    TargetGroupArn::parse(&format!("{arn}/{name}/73e2d6bc24d8a067")).unwrap()
}
