//! One request as a value, and how it is sent: the only place that speaks HTTP.

use crate::error::{BoxError, Cause, ClusterError, Operation, Refusal};
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, Method, Request, Response};
use kube::client::Body;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

/// How many objects a page of this list holds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PageOf {
    /// Nodes (25 kB, most of it the names of images), pods, EndpointSlices (up to 35 kB): 250. Doubled, a
    /// page may be larger than the largest answer that we read; halved, there are twice the round trips.
    Large,
    /// What has a few kB at most: 500, as kubectl asks for.
    Small,
    /// The same with nothing but the metadata of each object: of a node, 3 kB instead of 25.
    Metadata,
}

/// How many pages a list may have: 10,000 nodes or pods, 20,000 small objects. Doubled, a list outlasts a slice; halved, the
/// VolumeAttachments of a thousand nodes may not fit.
pub(crate) const PAGES_MAX: usize = 40;

/// How many values of a label one request names: more than the Services, or the revisions, on most nodes. A
/// value has up to 64 characters; doubled, the URL nears the 8 kB that proxies allow; halved, a dense
/// node costs a second request.
const VALUES_PER_CALL: usize = 60;

/// How we are named in the API server's audit log.
const AGENT: &str = concat!("ebbtide/", env!("CARGO_PKG_VERSION"));

/// Asks for a list of which only the metadata is of interest.
const METADATA: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

/// The body of a merge patch (RFC 7386).
pub(crate) const MERGE_PATCH: &str = "application/merge-patch+json";
/// Any other body.
pub(crate) const JSON: &str = "application/json";

/// A request: what for, and what goes over the wire.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    operation: Operation,
    subject: String,
    method: Method,
    path: String,
    query: Vec<(&'static str, String)>,
    accept: &'static str,
    body: Option<(&'static str, Vec<u8>)>,
}

/// A page of a list.
#[derive(Deserialize)]
struct Page<T> {
    #[serde(default)]
    metadata: PageMeta,
    items: Option<Vec<T>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PageMeta {
    r#continue: String,
    resource_version: String,
}

impl Call {
    pub(crate) fn get(operation: Operation, subject: impl Into<String>, path: String) -> Self {
        let (subject, method) = (subject.into(), Method::GET);
        Self { operation, subject, method, path, query: Vec::new(), accept: JSON, body: None }
    }

    /// A write with a body. `fieldValidation=Strict` makes the server refuse a field it does not know;
    /// by default it would drop the field with a warning, and with it a precondition.
    pub(crate) fn write(
        self,
        method: Method,
        kind: &'static str,
        body: &impl Serialize,
    ) -> Result<Self, ClusterError> {
        let strict = matches!(method, Method::POST | Method::PATCH);
        let bytes =
            serde_json::to_vec(body).map_err(|error| self.failed(Cause::Unwritable(error)))?;
        let call = Self { method, body: Some((kind, bytes)), ..self };
        Ok(if strict { call.with("fieldValidation", "Strict") } else { call })
    }

    /// Adds a query parameter.
    pub(crate) fn with(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.query.push((key, value.into()));
        self
    }

    /// Requests that together ask for the objects whose label has one of these values; none for none.
    pub(crate) fn for_each_of(self, label: &str, values: &BTreeSet<&str>) -> Vec<Self> {
        let values: Vec<&str> = values.iter().copied().collect();
        let selectors =
            values.chunks(VALUES_PER_CALL).map(|part| format!("{label} in ({})", part.join(",")));
        selectors.map(|selector| self.clone().with("labelSelector", selector)).collect()
    }

    /// Sends it; the answer may still be under way.
    pub(crate) async fn open(&self, client: &kube::Client) -> Result<Response<Body>, ClusterError> {
        let request = self.request().map_err(|error| self.failed(Cause::Request(error)))?;
        let response = client.send(request).await.map_err(|error| self.unanswered(error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let (head, body) = response.into_parts();
        let body = body.collect_bytes().await.map_err(|error| self.unanswered(error))?;
        let refusal = Refusal::read(head.status.as_u16(), retry_after(&head.headers), &body);
        Err(self.failed(Cause::Refused(Box::new(refusal))))
    }

    /// Sends it and waits for the whole answer.
    async fn send(&self, client: &kube::Client) -> Result<Bytes, ClusterError> {
        let body = self.open(client).await?.into_body();
        body.collect_bytes().await.map_err(|error| self.unanswered(error))
    }

    /// Sends a write of whose answer nothing is needed but that it is a success.
    pub(crate) async fn carry_out(&self, client: &kube::Client) -> Result<(), ClusterError> {
        let body = self.send(client).await?;
        match Refusal::in_success(&body) {
            Some(refusal) => Err(self.failed(Cause::Refused(Box::new(refusal)))),
            None => Ok(()),
        }
    }

    /// Sends it and reads the answer as an object.
    pub(crate) async fn fetch<T: DeserializeOwned>(
        &self,
        client: &kube::Client,
    ) -> Result<T, ClusterError> {
        let body = self.send(client).await?;
        serde_json::from_slice(&body).map_err(|error| self.failed(Cause::Unreadable(error)))
    }

    /// Reads a list page by page and keeps what `keep` makes of each object, so that no more than one
    /// page of raw objects is held.
    pub(crate) async fn list<T: DeserializeOwned, U>(
        self,
        client: &kube::Client,
        page_of: PageOf,
        mut keep: impl FnMut(T) -> Option<U>,
    ) -> Result<Vec<U>, ClusterError> {
        let (limit, accept) = match page_of {
            PageOf::Large => ("250", JSON),
            PageOf::Small => ("500", JSON),
            PageOf::Metadata => ("500", METADATA),
        };
        let first = Self { accept, ..self.with("limit", limit) };
        let mut call = first.clone();
        let mut kept = Vec::new();
        for _ in 0..PAGES_MAX {
            let page: Page<T> = call.fetch(client).await?;
            kept.extend(page.items.unwrap_or_default().into_iter().filter_map(&mut keep));
            if page.metadata.r#continue.is_empty() {
                return Ok(kept);
            }
            call = first.clone().with("continue", page.metadata.r#continue);
        }
        Err(first.failed(Cause::Pages(PAGES_MAX)))
    }

    /// The resource version that a list has now, by way of its first object.
    pub(crate) async fn resource_version(
        self,
        client: &kube::Client,
    ) -> Result<String, ClusterError> {
        let page: Page<serde::de::IgnoredAny> = self.with("limit", "1").fetch(client).await?;
        Ok(page.metadata.resource_version)
    }

    fn request(&self) -> Result<Request<Body>, http::Error> {
        let mut uri = self.path.clone();
        if !self.query.is_empty() {
            let mut query = form_urlencoded::Serializer::new(String::new());
            uri.push('?');
            uri.push_str(&query.extend_pairs(&self.query).finish());
        }
        let request = Request::builder().method(&self.method).uri(uri);
        let request = request.header(ACCEPT, self.accept).header(USER_AGENT, AGENT);
        match &self.body {
            Some((kind, bytes)) => {
                request.header(CONTENT_TYPE, *kind).body(Body::from(bytes.clone()))
            }
            None => request.body(Body::empty()),
        }
    }

    pub(crate) fn failed(&self, cause: Cause) -> ClusterError {
        ClusterError::new(self.operation, self.subject.clone(), cause)
    }

    /// kube wraps what the service said, and repeats it in its own text.
    fn unanswered(&self, error: kube::Error) -> ClusterError {
        let error: BoxError = match error {
            kube::Error::Service(inner) => inner,
            other => Box::new(other),
        };
        // A body's errors are wrapped once more.
        let error = match error.downcast::<kube::Error>() {
            Ok(wrapped) => match *wrapped {
                kube::Error::Service(inner) => inner,
                other => Box::new(other),
            },
            Err(error) => error,
        };
        self.failed(Cause::Transport(error))
    }
}

/// `Retry-After` in seconds; the API server never sends a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}
