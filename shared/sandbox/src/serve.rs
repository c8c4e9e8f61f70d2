//! The sandbox over HTTP on loopback, for processes of their own: real binaries, other people's clients.
//!
//! A request is handed to the very code that the wire below the SDK uses, faults and latencies included.
//! Which service it is for is told by the credential scope of its signature, as local stand-ins for AWS
//! do; which process it came from, by its access key.
//!
//! ```text
//!   process ──HTTP──> signature? ──> wire: exchange ──> World <── drive: real time passes
//!   kube-apiserver ──POST /tokenreview──> authenticator ──┘
//! ```
//! **Time.** The world's clock counts milliseconds since it was made and adds them to its beginning. Where
//! tokio's clock is not paused that is real time, and [`real_time`] begins at the wall clock, so that the
//! times of signatures mean the same on both sides. Nothing waits for the world to be looked at: a task
//! brings it up to the present whenever something is due.

pub mod http;
mod signature;
pub mod stage;
mod token_review;

use crate::aws::protocol::{Refusal, Service, failure};
use crate::aws::{self, sts, uuid};
use crate::wire::{Answer, exchange};
use crate::world::{Millis, Sandbox, World};
use http::Response;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::thread::{self, JoinHandle};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::oneshot;

/// The longest time in which nobody looks at the world: what another thread plans may be late by as much.
/// Twice as long would show in the times of a test, half of it would wake two processors for nothing.
const LOOK_MS: Millis = 50;

/// An empty world whose clock shows the wall clock's time.
#[expect(clippy::disallowed_methods, reason = "signatures carry the wall clock's time")]
pub fn real_time(seed: u64) -> Sandbox {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Sandbox::new(seed, i64::try_from(since.as_millis()).unwrap_or_default())
}

/// A sandbox that listens on loopback; it stops when this is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Begins to listen on a free port and to drive `sandbox` on real time, in a thread of its own.
    pub fn start(sandbox: &Sandbox) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let sandbox = sandbox.clone();
        let serve = async move {
            let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
            let answer = |request| answer(sandbox.clone(), request);
            tokio::select! {
                biased;
                // Dropped counts as told.
                _ = stopped => {}
                () = drive(&sandbox) => {}
                () = http::serve(&listener, answer) => {}
            }
        };
        let name = "sandbox".to_owned();
        let thread = thread::Builder::new().name(name).spawn(move || runtime.block_on(serve))?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// What `AWS_ENDPOINT_URL` is to be set to.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What an API server's `--authentication-token-webhook-config-file` names as its server.
    pub fn token_review_url(&self, cluster: &str) -> String {
        format!("http://{}{}/{cluster}", self.address, token_review::PATH)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in there was printed there.
            thread.join().ok();
        }
    }
}

/// Brings the world up to the present whenever something is due.
async fn drive(sandbox: &Sandbox) {
    loop {
        let (now, next) = {
            let world = sandbox.world();
            (world.now, world.next_at())
        };
        let latest = now + LOOK_MS;
        sandbox.sleep_until(next.map_or(latest, |next| next.clamp(now + 1, latest))).await;
    }
}

/// `None`: the connection breaks.
async fn answer(sandbox: Sandbox, request: http::Request) -> Option<Response> {
    if let Some(cluster) = token_review::cluster(&request.path) {
        return Some(token_review::serve(&mut sandbox.world(), cluster, &request));
    }
    let request = aws::Request {
        host: request.headers.get("host").cloned().unwrap_or_default(),
        path: request.path,
        method: request.method,
        headers: request.headers,
        body: request.body,
    };
    let admitted = admit(&mut sandbox.world(), &request);
    match admitted {
        Ok(process) => exchange(&sandbox, process, &request).await.ok().map(Response::from),
        Err(refused) => Some(refused.into()),
    }
}

/// The process that a request comes from, or the answer to one that is not signed as it must be.
fn admit(world: &mut World, request: &aws::Request) -> Result<u32, Answer> {
    let request_id = uuid(&mut world.rng);
    let Some(service) = Service::of(request) else {
        let refusal =
            Refusal::new(403, "MissingAuthenticationToken", "Missing Authentication Token");
        return Err(failure(Service::Eks, &refusal, &request_id).into());
    };
    signature::check(world, request)
        .map_err(|fault| failure(service, &fault.refusal(service), &request_id).into())
        .map(|()| {
            let key = sts::access_key(request).and_then(|id| world.aws.sts.keys.get(&id));
            key.map_or(0, |key| key.process)
        })
}

impl From<Answer> for Response {
    fn from(answer: Answer) -> Self {
        let Answer { status, content_type, mut headers, body } = answer;
        headers.push(("content-type", content_type.to_owned()));
        Self { status, headers, body }
    }
}
