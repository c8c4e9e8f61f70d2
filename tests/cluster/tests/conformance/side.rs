//! One side of the comparison: a client that may do everything, a namespace of the case's own, and answers without
//! what differs between any two runs.

use cluster_tests::{ControlPlane, Version};
use futures_util::future::LocalBoxFuture;
use http::{Method, Request};
use http_body_util::BodyExt;
use kube::client::Body;
use sandbox::{Millis, Sandbox};
use serde_json::{Value, json};

/// 2026-11-22T12:00:00Z, when the sandbox's worlds begin.
const START: Millis = 1_795_348_800_000;
/// The process that a case's calls come from in the sandbox.
pub(crate) const PROCESS: u32 = 1;
/// Longer than any case: the sandbox's controllers hear of nothing, as if they were not there.
const NEVER_MS: Millis = 86_400_000;

pub(crate) const MERGE: &str = "application/merge-patch+json";
pub(crate) const STRATEGIC: &str = "application/strategic-merge-patch+json";
pub(crate) const JSON: &str = "application/json";

/// Where a case runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    /// On all sides; controllers nowhere.
    Both,
    /// On all sides, each with a control plane of its own, since it starts controllers.
    Alone,
    /// On real API servers: the sandbox has nothing of the kind.
    Real,
}

/// One behaviour.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) on: On,
    pub(crate) run: for<'a> fn(&'a Side<'a>) -> LocalBoxFuture<'a, ()>,
}

/// Where a case talks to.
pub(crate) enum Of<'a> {
    Sandbox(Sandbox),
    Real(&'a ControlPlane, Version),
}

/// One side.
pub(crate) struct Side<'a> {
    pub(crate) client: kube::Client,
    /// Also the beginning of the names of what lives in no namespace.
    pub(crate) namespace: String,
    pub(crate) of: Of<'a>,
}

/// What came back: the status, `Retry-After`, and the body without what differs between any two runs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<String>,
    pub(crate) body: Value,
}

impl Answer {
    /// Status, reason, and the causes' messages or else the message: enough for most refusals.
    pub(crate) fn refusal(&self) -> (u16, &str, Vec<&str>) {
        let causes = self.body["details"]["causes"].as_array();
        let messages = causes.into_iter().flatten().filter_map(|cause| cause["message"].as_str());
        let mut messages: Vec<&str> = messages.collect();
        if messages.is_empty() {
            messages.extend(self.body["message"].as_str());
        }
        (self.status, self.body["reason"].as_str().unwrap_or_default(), messages)
    }
}

impl<'a> Side<'a> {
    /// A world of its own in which only the API server acts. Call it inside a runtime whose clock is paused.
    pub(crate) fn sandbox(case: &str) -> Self {
        let sandbox = Sandbox::new(1, START);
        {
            let mut world = sandbox.world();
            let lags = &mut world.kubernetes.lags;
            (lags.budget, lags.taint) = ((NEVER_MS, NEVER_MS), (NEVER_MS, NEVER_MS));
            (lags.owner, lags.scheduler) = ((NEVER_MS, NEVER_MS), (NEVER_MS, NEVER_MS));
            (lags.kubelet, lags.endpoint_slice) = ((NEVER_MS, NEVER_MS), (NEVER_MS, NEVER_MS));
        }
        let client = kube::Client::new(sandbox.kubernetes(PROCESS), "default");
        Self { client, namespace: namespace(case), of: Of::Sandbox(sandbox) }
    }

    /// A namespace of its own, with the account that admission wants pods to have.
    pub(crate) async fn real(control: &'a ControlPlane, version: Version, case: &str) -> Self {
        let client = control.admin().expect("a client can be made");
        let side = Self { client, namespace: namespace(case), of: Of::Real(control, version) };
        let namespace = &side.namespace;
        let made = side.post("/api/v1/namespaces", &json!({"metadata": {"name": namespace}})).await;
        assert_eq!(made.status, 201, "{made:?}");
        let account = json!({"metadata": {"name": "default"}});
        let made = side.post(&side.path("serviceaccounts", ""), &account).await;
        assert!([201, 409].contains(&made.status), "{made:?}");
        side
    }

    /// Whether the server is as old as the oldest version. The sandbox is like the newest one.
    pub(crate) fn is_old(&self) -> bool {
        matches!(self.of, Of::Real(_, Version::Oldest))
    }

    pub(crate) fn is_sandbox(&self) -> bool {
        matches!(self.of, Of::Sandbox(_))
    }

    /// `/api/v1/namespaces/…/{resource}/{name}`; no name for a list.
    pub(crate) fn path(&self, resource: &str, name: &str) -> String {
        let group = match resource {
            "poddisruptionbudgets" => "apis/policy/v1",
            "events" => "apis/events.k8s.io/v1",
            "replicasets" => "apis/apps/v1",
            "endpointslices" => "apis/discovery.k8s.io/v1",
            _ => "api/v1",
        };
        let path = format!("/{group}/namespaces/{}/{resource}/{name}", self.namespace);
        path.trim_end_matches('/').to_owned()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, "", &Value::Null).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask(Method::POST, path, JSON, body).await
    }

    pub(crate) async fn patch(&self, path: &str, kind: &str, body: &Value) -> Answer {
        self.ask(Method::PATCH, path, kind, body).await
    }

    pub(crate) async fn delete(&self, path: &str, options: &Value) -> Answer {
        self.ask(Method::DELETE, path, JSON, options).await
    }

    /// One request as the administrator.
    pub(crate) async fn ask(&self, method: Method, path: &str, kind: &str, body: &Value) -> Answer {
        let mut answer = ask(&self.client, method, path, (kind, body)).await;
        self.plain(&mut answer);
        answer
    }

    /// Takes out of an answer what differs between any two runs.
    pub(crate) fn plain(&self, answer: &mut Answer) {
        plain(&mut answer.body, &self.namespace);
        // The real server repeats a cause for each time that it validates: twice to four times.
        if let Some(Value::Array(causes)) = answer.body.pointer_mut("/details/causes") {
            causes.dedup();
        }
    }

    /// The server forgets all versions but the latest, and what it kept of them.
    pub(crate) async fn forget_history(&self) {
        match &self.of {
            Of::Sandbox(sandbox) => sandbox.world().kubernetes.store.compact(),
            Of::Real(control, _) => {
                control.compact().await.expect("etcd compacts");
                // What it keeps in memory it would serve for minutes.
                control.start_api().await.expect("it starts again");
            }
        }
    }

    /// The answer as it came, for what later requests need of it: uid, version, continue token.
    pub(crate) async fn raw(&self, path: &str) -> Value {
        ask(&self.client, Method::GET, path, ("", &Value::Null)).await.body
    }

    /// The lines of a watch until it ends by itself, each as its type and its object.
    pub(crate) async fn watch(&self, path: &str) -> Vec<(String, Value)> {
        let request = Request::get(path).body(Body::empty()).expect("the path is one");
        let response = self.client.send(request).await.expect("the server answers");
        assert_eq!(response.status(), 200, "{path}");
        let mut body = response.into_body();
        let mut text = Vec::new();
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame.expect("the stream ends in order").into_data() {
                text.extend_from_slice(&data);
            }
        }
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let event = |line| {
            let mut event: Value = serde_json::from_slice(line).expect("each line is JSON");
            plain(&mut event["object"], &self.namespace);
            (event["type"].as_str().expect("it has a type").to_owned(), event["object"].take())
        };
        lines.map(event).collect()
    }
}

/// One request as whoever the client is; the body as it came.
pub(crate) async fn ask(
    client: &kube::Client,
    method: Method,
    path: &str,
    (kind, body): (&str, &Value),
) -> Answer {
    let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let mut request = Request::builder().method(method).uri(path).header("accept", JSON);
    if !bytes.is_empty() {
        request = request.header("content-type", kind);
    }
    let request = request.body(Body::from(bytes)).expect("the path is one");
    let (head, body) = client.send(request).await.expect("the server answers").into_parts();
    let retry_after = head.headers.get("retry-after");
    let retry_after = retry_after.map(|value| value.to_str().expect("it is text").to_owned());
    let bytes = body.collect_bytes().await.expect("the whole answer comes");
    let body = serde_json::from_slice(&bytes)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
    Answer { status: head.status.as_u16(), retry_after, body }
}

/// A namespace's name from that of the case, `reads::pages`.
fn namespace(case: &str) -> String {
    let name: String = case.replace("::", "-").replace('_', "-").chars().take(55).collect();
    name.trim_end_matches('-').to_owned()
}

/// Replaces the namespace by `NS` and all uids by `UID`, in texts too.
fn plain(value: &mut Value, namespace: &str) {
    match value {
        Value::String(text) => *text = without_uids(&text.replace(namespace, "NS")),
        Value::Array(all) => all.iter_mut().for_each(|one| plain(one, namespace)),
        Value::Object(fields) => fields.values_mut().for_each(|one| plain(one, namespace)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Replaces everything of the shape 8-4-4-4-12 hexadecimal digits.
fn without_uids(text: &str) -> String {
    const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];
    let is_uid = |word: &str| {
        let mut parts = word.split('-');
        let fits = |length: &usize| {
            parts.next().is_some_and(|part| {
                part.len() == *length && part.bytes().all(|byte| byte.is_ascii_hexdigit())
            })
        };
        GROUPS.iter().all(fits)
    };
    let edge = |letter: char| !(letter.is_ascii_alphanumeric() || letter == '-');
    let words = text.split_inclusive(edge);
    words
        .map(|word| {
            let bare = word.trim_end_matches(edge);
            if is_uid(bare) { word.replace(bare, "UID") } else { word.to_owned() }
        })
        .collect()
}
