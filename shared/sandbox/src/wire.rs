//! The wires below the real clients: a tower service under `kube::Client`, a connector under the SDK.
//!
//! Each call waits a little before and after its effect, so that a dropped future (a kill, a client's
//! timeout) can fall on either side of it. What the caller never heard is logged with status 0.
//!
//! ```text
//!   arrive ── fault? ──latency── effect: serve(&mut World) ──latency── answer
//!                │                                  │
//!          refuse, hang, reset               hang, reset
//! ```

mod aws;
#[cfg(test)]
pub(crate) mod client;
mod kubernetes;
#[cfg(test)]
mod tests;

pub use aws::AwsWire;
#[cfg(feature = "serve")]
pub(crate) use aws::exchange;
pub use kubernetes::KubernetesWire;

use crate::fault::{Fault, Faults, SLOW_MS_MAX, Wire};
use crate::world::{Call, Millis, Sandbox, World};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use std::fmt;
use std::ops::Range;

/// A hung connection ends by itself after this long (an idle NAT forgets it).
const HANG_MS: Millis = 350_000;

impl Sandbox {
    /// The wire to the API server for one process: `kube::Client::new(sandbox.kubernetes(1), "default")`.
    pub fn kubernetes(&self, process: u32) -> KubernetesWire {
        KubernetesWire::new(self.clone(), "", process)
    }

    /// The same to the API server of the cluster of this name, which is the first one unless there is another.
    pub fn kubernetes_of(&self, cluster: &str, process: u32) -> KubernetesWire {
        KubernetesWire::new(self.clone(), cluster, process)
    }

    /// The wire to AWS for one process, for an SDK config's `http_client` and for signed calls.
    pub fn aws(&self, process: u32) -> SharedHttpClient {
        SharedHttpClient::new(AwsWire::new(self.clone(), process))
    }

    /// The calls that `process` made, in order.
    pub fn calls_of(&self, process: u32) -> Vec<Call> {
        self.world().calls.iter().filter(|call| call.process == process).cloned().collect()
    }

    /// All calls that reached the world and could change something, in order.
    pub fn writes(&self) -> Vec<Call> {
        self.world().calls.iter().filter(|call| call.write).cloned().collect()
    }
}

/// What either wire answers.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    /// Other headers than the content type.
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    fn json(status: u16, body: Vec<u8>) -> Self {
        Self { status, content_type: "application/json", headers: Vec::new(), body }
    }
}

/// The connection broke: the caller can't know whether its request took effect.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionReset;

impl fmt::Display for ConnectionReset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("connection reset by peer")
    }
}

impl std::error::Error for ConnectionReset {}

/// One call on its way.
#[derive(Clone, Debug)]
struct Passage {
    sandbox: Sandbox,
    process: u32,
    wire: Wire,
    operation: String,
    subject: String,
    write: bool,
}

impl Passage {
    /// Takes the call to its effect and the answer back. `refuse` makes the answer to a call that was
    /// throttled or failed on the server's side.
    async fn pass(
        &self,
        effect: impl FnOnce(&mut World, Option<Fault>) -> Answer,
        refuse: impl FnOnce(&mut World, Fault) -> Answer,
    ) -> Result<Answer, ConnectionReset> {
        let (fault, before, after) = self.depart();
        self.wait(before).await;
        match fault {
            Some(Fault::TimedOutBefore) => {
                self.log(&mut self.sandbox.world(), 0);
                return self.hang().await;
            }
            Some(Fault::ResetBefore) => {
                self.log(&mut self.sandbox.world(), 0);
                return Err(ConnectionReset);
            }
            Some(fault @ (Fault::Throttled | Fault::ServerError)) => {
                let (answer, calls) = {
                    let mut world = self.sandbox.world();
                    let answer = refuse(&mut world, fault);
                    let calls = self.log(&mut world, answer.status);
                    (answer, calls)
                };
                let unheard = Unheard::new(&self.sandbox, calls);
                self.wait(after).await;
                unheard.heard();
                return Ok(answer);
            }
            _ => {}
        }
        let (answer, calls) = {
            let mut world = self.sandbox.world();
            let first = world.calls.len();
            let answer = effect(&mut world, fault);
            (answer, first..world.calls.len())
        };
        let unheard = Unheard::new(&self.sandbox, calls);
        match fault {
            Some(Fault::TimedOutAfter) => self.hang().await,
            Some(Fault::ResetAfter) => Err(ConnectionReset),
            _ => {
                self.wait(after).await;
                unheard.heard();
                Ok(answer)
            }
        }
    }

    /// Draws this call's fault and its two latencies.
    fn depart(&self) -> (Option<Fault>, Millis, Millis) {
        let mut world = self.sandbox.world();
        let fault = Faults::decide(&mut world, &self.wire, &self.operation);
        let way = match self.wire {
            Wire::Aws => world.latency.aws.clone(),
            Wire::Kubernetes(_) => world.latency.kubernetes.clone(),
        };
        let before = world.rng.i64(way.clone());
        let mut after = world.rng.i64(way);
        if fault == Some(Fault::Slow) {
            after += world.rng.i64(0..=SLOW_MS_MAX);
        }
        (fault, before, after)
    }

    async fn wait(&self, ms: Millis) {
        self.sandbox.sleep_until(self.sandbox.now() + ms).await;
    }

    async fn hang(&self) -> Result<Answer, ConnectionReset> {
        self.wait(HANG_MS).await;
        Err(ConnectionReset)
    }

    /// Logs a call that never reached the part of the world that would have logged it.
    fn log(&self, world: &mut World, status: u16) -> Range<usize> {
        let at = world.now;
        world.calls.push(Call {
            at,
            process: self.process,
            operation: self.operation.clone(),
            subject: self.subject.clone(),
            status,
            write: self.write,
        });
        world.calls.len() - 1..world.calls.len()
    }
}

/// Calls whose answer is on its way back; dropped before it is heard, they are logged with status 0.
#[derive(Debug)]
struct Unheard<'a> {
    sandbox: &'a Sandbox,
    calls: Range<usize>,
}

impl<'a> Unheard<'a> {
    fn new(sandbox: &'a Sandbox, calls: Range<usize>) -> Self {
        Self { sandbox, calls }
    }

    fn heard(mut self) {
        self.calls = 0..0;
    }
}

impl Drop for Unheard<'_> {
    fn drop(&mut self) {
        if self.calls.is_empty() || std::thread::panicking() {
            return;
        }
        let mut world = self.sandbox.world();
        for call in world.calls.get_mut(self.calls.clone()).into_iter().flatten() {
            call.status = 0;
        }
    }
}
