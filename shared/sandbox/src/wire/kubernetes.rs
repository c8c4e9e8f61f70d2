//! The wire to the API server: a tower service for `kube::Client`, with streaming watches.
//!
//! A watch is one response whose body never ends by itself: it looks at the history whenever the
//! world moves and ends at its `timeoutSeconds`, as the real one does, or with an outage.

use super::{Answer, ConnectionReset, Passage};
use crate::fault::{Fault, Wire};
use crate::kubernetes::{self, Interest, Request, Response};
use crate::world::{Millis, Sandbox, World};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, Stream};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll};

/// How long a change that a call made may stay unseen by a watch: an API server takes some
/// milliseconds, a busy one more.
const WATCH_MS: Millis = 50;

/// How long a watch lasts that does not say (the API server draws 30 to 60 minutes).
const WATCH_SECONDS: Millis = 1_800;

/// The body of an answer: whole, or lines as they come.
type AnswerBody = UnsyncBoxBody<Bytes, ConnectionReset>;

/// The wire to the API server of one process.
#[derive(Clone, Debug)]
pub struct KubernetesWire {
    sandbox: Sandbox,
    cluster: Arc<str>,
    process: u32,
}

impl KubernetesWire {
    pub(crate) fn new(sandbox: Sandbox, cluster: &str, process: u32) -> Self {
        Self { sandbox, cluster: cluster.into(), process }
    }

    async fn exchange<B: http_body::Body>(
        self,
        request: http::Request<B>,
    ) -> Result<http::Response<AnswerBody>, ConnectionReset> {
        let request = plain(request).await?;
        let watch = request.query.get("watch").is_some_and(|value| value == "true" || value == "1");
        let operation = kubernetes::operation(&request);
        let write = !watch && request.method != "GET";
        let passage = Passage {
            sandbox: self.sandbox.clone(),
            process: self.process,
            wire: Wire::Kubernetes(self.cluster.clone()),
            operation,
            subject: request.path.clone(),
            write,
        };
        let mut held = 0;
        let mut open = None;
        let effect = |world: &mut World, _: Option<Fault>| {
            if !watch {
                let serve = |world: &mut World| kubernetes::serve(world, self.process, &request);
                let response = world.in_cluster(&self.cluster, serve);
                held = response.held_ms;
                return answer(response);
            }
            let watch = Watch::new(&self, world, &request);
            let answer = watch.as_ref().map_or_else(
                |refusal| Answer::json(refusal.status, refusal.body.clone()),
                |_| Answer::json(200, Vec::new()),
            );
            passage.log(world, answer.status);
            open = watch.ok();
            answer
        };
        let mut answer = passage.pass(effect, refusal).await?;
        passage.wait(held).await;
        let body = match open {
            Some(watch) => StreamBody::new(watch.lines()).boxed_unsync(),
            None => Full::new(Bytes::from(std::mem::take(&mut answer.body)))
                .map_err(|never| match never {})
                .boxed_unsync(),
        };
        respond(answer, body)
    }
}

impl<B> tower::Service<http::Request<B>> for KubernetesWire
where
    B: http_body::Body<Data: Send> + Send + 'static,
{
    type Response = http::Response<AnswerBody>;
    type Error = ConnectionReset;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        Box::pin(self.clone().exchange(request))
    }
}

/// A watch that is open: what it has seen, and when it ends.
#[derive(Debug)]
struct Watch {
    sandbox: Sandbox,
    cluster: Arc<str>,
    operation: String,
    request: Request,
    interest: Option<Interest>,
    seen: u64,
    until: Millis,
    ready: VecDeque<Vec<u8>>,
    over: bool,
}

impl Watch {
    /// Opens a watch, unless the caller may not have it.
    fn new(wire: &KubernetesWire, world: &mut World, request: &Request) -> Result<Self, Response> {
        let number = |name: &str| request.query.get(name).and_then(|value| value.parse().ok());
        let seconds = number("timeoutSeconds").map_or(WATCH_SECONDS, u64::cast_signed);
        let mut watch = Self {
            sandbox: wire.sandbox.clone(),
            cluster: wire.cluster.clone(),
            operation: kubernetes::operation(request),
            request: request.clone(),
            interest: Interest::of(request),
            seen: number("resourceVersion").unwrap_or(0),
            until: world.now + seconds * 1000,
            ready: VecDeque::new(),
            over: false,
        };
        world.in_cluster(&wire.cluster, |world| watch.read(world))?;
        Ok(watch)
    }

    /// Takes what happened since it last read. A history that begins later ends the watch with an event.
    fn read(&mut self, world: &mut World) -> Result<(), Response> {
        match kubernetes::watch_since(world, &self.request, self.seen) {
            Ok(lines) => {
                self.ready.extend(lines);
                self.seen = world.kubernetes.resource_version();
            }
            Err(gone) if gone.status == 410 => {
                self.ready.push_back(error_line(&gone.body));
                self.over = true;
            }
            Err(refusal) => return Err(refusal),
        }
        Ok(())
    }

    fn lines(self) -> impl Stream<Item = Result<Frame<Bytes>, ConnectionReset>> + Send {
        stream::unfold(self, |mut watch| async move { Some((watch.next().await?, watch)) })
    }

    /// The next line, or nothing when the watch is over.
    async fn next(&mut self) -> Option<Result<Frame<Bytes>, ConnectionReset>> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Some(Ok(Frame::data(Bytes::from(line))));
            }
            if self.over || self.sandbox.now() >= self.until {
                return None;
            }
            let look_again_at = match self.look() {
                Ok(at) => at,
                Err(ConnectionReset) => {
                    self.over = true;
                    return Some(Err(ConnectionReset));
                }
            };
            if self.ready.is_empty() {
                self.sandbox.sleep_until(look_again_at).await;
            }
        }
    }

    /// Reads what happened since it last looked, and says when to look again.
    fn look(&mut self) -> Result<Millis, ConnectionReset> {
        let (sandbox, cluster) = (self.sandbox.clone(), self.cluster.clone());
        let mut world = sandbox.world();
        let wire = Wire::Kubernetes(cluster.clone());
        let outage = world.faults.outage(world.now, &wire, &self.operation);
        match outage.map(|window| (window.fault, window.to)) {
            Some((Fault::ResetBefore | Fault::ResetAfter, _)) => return Err(ConnectionReset),
            Some((Fault::TimedOutBefore | Fault::TimedOutAfter, end)) => {
                return Ok(end.min(self.until));
            }
            _ => {}
        }
        world.in_cluster(&cluster, |world| {
            let changed = |interest: &Interest| interest.changed_since(world, self.seen);
            if self.interest.as_ref().is_none_or(changed) {
                self.read(world).map_err(|_| ConnectionReset)?;
            }
            self.seen = world.kubernetes.resource_version();
            Ok(self.again_at(world))
        })
    }

    fn again_at(&self, world: &World) -> Millis {
        let soon = world.now + WATCH_MS;
        if world.kubernetes.is_large() {
            return soon.min(self.until).max(world.now + 1);
        }
        let next = world.next_at().unwrap_or(soon).min(soon).min(self.until);
        next.max(world.now + 1)
    }
}

/// The answer with the header that it has beside its type.
fn answer(response: Response) -> Answer {
    let mut answer = Answer::json(response.status, response.body);
    if response.retry_after_seconds > 0 {
        answer.headers.push(("retry-after", response.retry_after_seconds.to_string()));
    }
    answer
}

/// A watch's last line: the server's Status as the object of an ERROR event.
fn error_line(status: &[u8]) -> Vec<u8> {
    let mut line = br#"{"type":"ERROR","object":"#.to_vec();
    line.extend_from_slice(status);
    line.extend_from_slice(b"}\n");
    line
}

/// The request as the world reads it.
async fn plain<B: http_body::Body>(request: http::Request<B>) -> Result<Request, ConnectionReset> {
    let (parts, body) = request.into_parts();
    let query: BTreeMap<String, String> =
        form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes())
            .into_owned()
            .collect();
    let header = |name: http::HeaderName| {
        let value = parts.headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let (accept, content_type) = (header(http::header::ACCEPT), header(http::header::CONTENT_TYPE));
    let body = body.collect().await.map_err(|_| ConnectionReset)?.to_bytes();
    Ok(Request {
        method: parts.method.as_str().to_owned(),
        path: parts.uri.path().to_owned(),
        query,
        accept,
        content_type,
        body: body.to_vec(),
    })
}

/// What an API server answers when it is overloaded or its etcd fails.
fn refusal(_: &mut World, fault: Fault) -> Answer {
    if fault == Fault::Throttled {
        // API Priority and Fairness refuses in plain text, unlike an eviction's 429.
        return Answer {
            status: 429,
            content_type: "text/plain; charset=utf-8",
            headers: vec![("retry-after", "1".to_owned())],
            body: b"Too many requests, please try again later.\n".to_vec(),
        };
    }
    let body = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "Internal error occurred: etcdserver: leader changed",
        "reason": "InternalError",
        "details": {"causes": [{"message": "etcdserver: leader changed"}]}, "code": 500
    });
    Answer::json(500, body.to_string().into_bytes())
}

fn respond(
    answer: Answer,
    body: AnswerBody,
) -> Result<http::Response<AnswerBody>, ConnectionReset> {
    let mut response =
        http::Response::builder().status(answer.status).header("content-type", answer.content_type);
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    response.body(body).map_err(|_| ConnectionReset)
}
