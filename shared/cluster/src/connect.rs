//! The way to an API server: TLS with its own CA alone, a fresh token on each request, and a limit
//! on how long any request may take.
//!
//! Nothing is read from the environment or a kubeconfig. The limit is a tower layer on tokio's clock
//! and therefore the same for a real server ([`dial`]) and for a service in this process ([`wrap`]).

use crate::error::{BoxError, Cause, ClusterError, Operation, Unanswered};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::AUTHORIZATION;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::Body;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tower::Service;

/// How long a TCP connection may take. An API server in the same region answers in milliseconds;
/// doubled, one broken cluster eats a third of a slice; halved, one lost SYN (sent again after 1 s)
/// is a failure.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a request may take, from the call to the last byte of its answer. Doubled, two silent
/// answers are a whole slice; halved, a page of large pods from a busy server does not get through.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The same for an eviction. The API server writes the budget's status first, and tries again for ten seconds, every half
/// second, where somebody else wrote it meanwhile. Who breaks that off may leave the budget's count lowered, for two minutes and
/// for nothing. Halved, evictions in a storm are broken off; doubled, nothing: a slice ends before.
const EVICTION_TIMEOUT: Duration = Duration::from_secs(11);

/// How long an unused connection may be used again; longer than the pause between two turns, shorter
/// than the pauses between invocations. A frozen environment does not notice that load balancers and
/// servers gave its connections up. hyper compares monotonic instants when a connection is taken out of
/// its pool, so after a longer pause it is dropped then, without any timer having had to run meanwhile.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(5);

/// How large an answer may be: 250 objects of 64 kB. Doubled, one such answer alone takes the process
/// near its memory; halved, a page of full EndpointSlices may not be readable.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// The bearer tokens of one cluster.
#[derive(Clone)]
pub struct Bearer {
    /// Makes the value of the `Authorization` header (`Bearer k8s-aws-v1.…`); asked at each request, so
    /// that a warm environment never sends an old token.
    pub header: Arc<dyn Fn() -> Result<HeaderValue, BoxError> + Send + Sync>,
    /// Told which header the API server answered with 401: it is not to be handed out again. The request
    /// is not repeated here; the next one asks for a header.
    pub refused: Arc<dyn Fn(&HeaderValue) + Send + Sync>,
}

impl fmt::Debug for Bearer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Bearer").finish_non_exhaustive()
    }
}

/// Where an API server is and whose certificate it shows, as DescribeCluster says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `https://…`, without a path.
    pub url: String,
    /// PEM certificates, the only ones that are trusted.
    pub ca_pem: Vec<u8>,
}

/// A client for the API server at this endpoint. Nothing is sent yet. Needs a tokio runtime.
pub fn dial(endpoint: &Endpoint, bearer: Bearer) -> Result<kube::Client, ClusterError> {
    let failed = |cause: BoxError| {
        ClusterError::new(Operation::Connect, endpoint.url.clone(), Cause::Setup(cause))
    };
    let base = base(&endpoint.url).map_err(failed)?;
    let tls = trust(&endpoint.ca_pem).map_err(failed)?;
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    let https = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_only()
        .enable_http1()
        .wrap_connector(tcp);
    let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .build::<_, Body>(https);
    Ok(wrap(tower::service_fn(move |request: Request<Body>| {
        let prepared = address(request, &base).and_then(|request| authorize(request, &bearer));
        let (http, bearer) = (http.clone(), bearer.clone());
        async move {
            let (request, token) = prepared?;
            let response = http.request(request).await.map_err(BoxError::from)?;
            if response.status() == StatusCode::UNAUTHORIZED {
                (bearer.refused)(&token);
            }
            Ok::<_, BoxError>(response)
        }
    })))
}

/// A client over any HTTP service, under the same limit on each request. Needs a tokio runtime.
pub fn wrap<S, B>(service: S) -> kube::Client
where
    S: Service<Request<Body>, Response = Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    kube::Client::new(Limited { service }, "default")
}

/// Scheme and authority, if that is all there is and the scheme is https.
fn base(url: &str) -> Result<Uri, BoxError> {
    let uri: Uri = url.parse()?;
    if uri.scheme() != Some(&Scheme::HTTPS) || uri.path() != "/" || uri.query().is_some() {
        return Err(format!("`{url}`: expected https:// and a host").into());
    }
    Ok(uri)
}

/// A TLS configuration that trusts these certificates and no others.
fn trust(ca_pem: &[u8]) -> Result<rustls::ClientConfig, BoxError> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem) {
        roots.add(certificate?)?;
    }
    if roots.is_empty() {
        return Err("no certificate in the cluster's CA data".into());
    }
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

fn address(mut request: Request<Body>, base: &Uri) -> Result<Request<Body>, BoxError> {
    let path = request.uri().path_and_query().cloned();
    let mut parts = base.clone().into_parts();
    parts.path_and_query = path.or(Some(PathAndQuery::from_static("/")));
    *request.uri_mut() = Uri::from_parts(parts)?;
    Ok(request)
}

/// The request with a token, and that token.
fn authorize(
    mut request: Request<Body>,
    bearer: &Bearer,
) -> Result<(Request<Body>, HeaderValue), BoxError> {
    let mut token = (bearer.header)().map_err(Unanswered::NoToken)?;
    token.set_sensitive(true);
    request.headers_mut().insert(AUTHORIZATION, token.clone());
    Ok((request, token))
}

/// The limit on each request; watches pass, since they end by their own `timeoutSeconds`.
struct Limited<S> {
    service: S,
}

type AnswerBody = UnsyncBoxBody<Bytes, BoxError>;

impl<S, B> Service<Request<Body>> for Limited<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<AnswerBody>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<AnswerBody>, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.service.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let watches = is_watch(request.uri());
        let limit = limit(request.uri());
        let answer = self.service.call(request);
        Box::pin(async move {
            if watches {
                let response = answer.await.map_err(Into::into)?;
                return Ok(response.map(|body| body.map_err(Into::into).boxed_unsync()));
            }
            let whole = async {
                let (head, body) = answer.await.map_err(Into::into)?.into_parts();
                let body = Full::new(collect(body).await?).map_err(|never| match never {});
                Ok(Response::from_parts(head, body.boxed_unsync()))
            };
            let late = |_| Err(Unanswered::Late(limit).into());
            tokio::time::timeout(limit, whole).await.unwrap_or_else(late)
        })
    }
}

/// How long this request may take.
fn limit(uri: &Uri) -> Duration {
    if uri.path().ends_with("/eviction") { EVICTION_TIMEOUT } else { REQUEST_TIMEOUT }
}

/// Whether this request asks for a stream of events.
fn is_watch(uri: &Uri) -> bool {
    let mut fields = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    fields.any(|(key, value)| key == "watch" && (value == "true" || value == "1"))
}

/// The whole body in one piece, grown in place: collecting frames first would hold it twice.
async fn collect<B>(body: B) -> Result<Bytes, BoxError>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let mut body = pin!(body);
    let mut whole = Vec::new();
    while let Some(frame) = poll_fn(|context| body.as_mut().poll_frame(context)).await {
        if let Ok(data) = frame.map_err(Into::into)?.into_data() {
            if whole.len() + data.len() > ANSWER_BYTES_MAX {
                return Err(Unanswered::TooLarge(ANSWER_BYTES_MAX).into());
            }
            whole.extend_from_slice(&data);
        }
    }
    Ok(whole.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_marked_so_that_nobody_prints_it() {
        let bearer = Bearer {
            header: Arc::new(|| Ok(HeaderValue::from_static("Bearer secret"))),
            refused: Arc::new(|_| {}),
        };
        let (request, _) = authorize(Request::new(Body::empty()), &bearer).unwrap();
        let token = request.headers().get(AUTHORIZATION).unwrap();
        assert!(token.is_sensitive());
        assert!(!format!("{request:?}").contains("secret"));
    }
}
