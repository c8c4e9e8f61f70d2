//! An API server of canned answers that writes down what it was asked.

use bytes::Bytes;
use decision::id::{NodeName, PodKey, Uid};
use decision::step::Removal;
use http::{Request, Response};
use http_body_util::Full;
use kube::client::Body;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

/// Code, `Retry-After`, body.
type Answer = (u16, Option<&'static str>, String);

/// Answers in order; each request takes one.
#[derive(Clone, Default)]
pub(crate) struct Fake {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    log: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    pub(crate) fn answering(code: u16, body: impl Into<String>) -> Self {
        Self::default().then(code, body)
    }

    pub(crate) fn then(self, code: u16, body: impl Into<String>) -> Self {
        self.answers.lock().unwrap().push_back((code, None, body.into()));
        self
    }

    pub(crate) fn retry_after(self, seconds: &'static str) -> Self {
        self.answers.lock().unwrap().back_mut().unwrap().1 = Some(seconds);
        self
    }

    pub(crate) fn client(&self) -> kube::Client {
        let fake = self.clone();
        cluster::wrap(tower::service_fn(move |request| fake.clone().answer(request)))
    }

    async fn answer(self, request: Request<Body>) -> Result<Response<Full<Bytes>>, Infallible> {
        let (head, body) = request.into_parts();
        let body = body.collect_bytes().await.unwrap();
        let mut line = format!("{} {}", head.method, head.uri);
        if let Some(kind) = head.headers.get("content-type") {
            let body = std::str::from_utf8(&body).unwrap();
            line = format!("{line} {} {body}", kind.to_str().unwrap());
        }
        let is_departing = line.contains("spec.unschedulable");
        let metadata = ";as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
        let accept = format!("application/json{}", if is_departing { metadata } else { "" });
        assert_eq!(head.headers["accept"], accept, "{line}");
        self.log.lock().unwrap().push(line.clone());
        let answer = self.answers.lock().unwrap().pop_front();
        let (code, retry_after, body) = answer.unwrap_or_else(|| panic!("no answer for {line}"));
        let mut response = Response::builder().status(code);
        if let Some(seconds) = retry_after {
            response = response.header("retry-after", seconds);
        }
        Ok(response.body(Full::new(Bytes::from(body))).unwrap())
    }

    /// All requests so far, one line each: method, URI, and content type and body if there is one.
    /// No answer may be left over.
    #[track_caller]
    pub(crate) fn requests(&self) -> Vec<String> {
        assert!(self.answers.lock().unwrap().is_empty(), "an answer was not asked for");
        self.log.lock().unwrap().clone()
    }
}

/// A list of these objects with this continue token.
pub(crate) fn page(items: &[&str], r#continue: &str) -> String {
    format!(
        r#"{{"kind":"List","apiVersion":"v1","metadata":{{"resourceVersion":"77","continue":"{}"}},"items":[{}]}}"#,
        r#continue,
        items.join(",")
    )
}

/// A list of these objects, all in one page.
pub(crate) fn list(items: &[&str]) -> String {
    page(items, "")
}

pub(crate) fn node_name() -> NodeName {
    NodeName::parse("ip-10-0-3-41.ec2.internal").unwrap()
}

pub(crate) fn uid(text: &str) -> Uid {
    Uid::parse(text).unwrap()
}

pub(crate) fn pod_key(text: &str) -> PodKey {
    text.parse().unwrap()
}

pub(crate) fn removal() -> Removal {
    Removal { pod: pod_key("shop/web-1"), uid: uid("0b1f0d3e-7a52-4c39-9a39-1d2f3c4b5a69") }
}

pub(crate) const NODE: &str = r#"{"kind":"Node","apiVersion":"v1","metadata":{
  "name":"ip-10-0-3-41.ec2.internal","uid":"6c1ad8b9-8a0e-4d14-8e1c-0f2f6a3b9f10","resourceVersion":"184467",
  "creationTimestamp":"2026-11-22T08:00:00Z",
  "labels":{"kubernetes.io/hostname":"ip-10-0-3-41.ec2.internal","topology.kubernetes.io/zone":"eu-west-1a"},
  "annotations":{"node.alpha.kubernetes.io/ttl":"0"},
  "managedFields":[{"manager":"kubelet","operation":"Update","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"f:metadata":{}}}]},
 "spec":{"podCIDR":"10.0.3.0/24","providerID":"aws:///eu-west-1a/i-0a1b2c3d4e5f60718",
  "taints":[{"key":"ebs.csi.aws.com/agent-not-ready","effect":"NoExecute","timeAdded":"2026-11-22T08:00:05Z"},
            {"key":"team","value":"shop","effect":"NoSchedule"}]},
 "status":{"capacity":{"cpu":"4"},"conditions":[
   {"type":"MemoryPressure","status":"False","reason":"KubeletHasSufficientMemory","message":"ok"},
   {"type":"Ready","status":"True","reason":"KubeletReady","message":"kubelet is posting ready status"}],
  "images":[{"names":["a@sha256:1"],"sizeBytes":12}],
  "nodeInfo":{"machineID":"m","systemUUID":"s","bootID":"2f6a3b9f-0000-4d14-8e1c-6c1ad8b98a0e","kernelVersion":"6.12"}}}"#;
