//! Lambda: functions, their environments, and one loop that drives them with the world.
//!
//! An environment is one process: it is made when no idle one is left, keeps its caches between
//! invocations, is frozen meanwhile, and dies when it is killed or runs into its timeout. An
//! invocation is one future; to kill it is to drop it at one of its waits. Everything runs in the
//! caller's task and in a fixed order, so that one seed gives one run.
//!
//! ```text
//!   queue ──mapping──> batch ──> idle or fresh environment ──> invocation ──> answered: delete
//!   schedule ────────────────────────┘                                   └──> killed: visible later
//! ```

mod mapping;
mod md5;
#[cfg(test)]
mod tests;

pub use mapping::{Mapping, Poller};

use crate::aws::sqs::Message;
use crate::fault::Faults;
use crate::world::{Millis, Sandbox, World};
use futures_util::future::{LocalBoxFuture, poll_fn};
use futures_util::stream::{FuturesUnordered, StreamExt};
use serde_json::Value;
use std::fmt;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

/// An environment that was idle for longer is taken away.
const IDLE_MS_MAX: Millis = 480_000;

/// What an invocation returns: the answer, or the error's text.
pub type Returned = Result<Value, String>;

type Invoke = dyn Fn(Value, Millis) -> LocalBoxFuture<'static, Returned>;

/// One process of a function, with whatever it keeps between invocations.
pub struct Environment(Box<Invoke>);

impl Environment {
    /// An environment that handles an event until a deadline (milliseconds since the epoch, world time).
    pub fn new<F>(invoke: impl Fn(Value, Millis) -> F + 'static) -> Self
    where
        F: Future<Output = Returned> + 'static,
    {
        Self(Box::new(move |event, deadline| Box::pin(invoke(event, deadline))))
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Environment")
    }
}

/// What invokes a function.
#[derive(Clone, Debug)]
pub enum Trigger {
    /// An SQS event source mapping.
    Queue(Mapping),
    /// A schedule: the first tick is one interval after the driving began.
    Every(Millis),
}

/// One deployed function.
pub struct Function {
    /// Its name, for the records.
    pub name: String,
    /// What invokes it.
    pub trigger: Trigger,
    /// When an invocation is ended and its environment thrown away.
    pub timeout_ms: Millis,
    /// Makes a fresh environment for a process number: the number its wires are made with.
    pub environment: Box<dyn Fn(u32) -> Environment>,
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, trigger, timeout_ms, .. } = self;
        f.debug_struct("Function")
            .field("name", name)
            .field("trigger", trigger)
            .field("timeout_ms", timeout_ms)
            .finish_non_exhaustive()
    }
}

/// What became of one process.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Process {
    /// The function's name.
    pub function: String,
    /// When it was made.
    pub started: Millis,
    /// How often it was invoked.
    pub invocations: u32,
    /// How often it answered with an error.
    pub errors: u32,
    /// Whether it was killed half-way.
    pub killed: bool,
    /// Whether it ran into its timeout.
    pub timed_out: bool,
    /// The time that is paid for.
    pub busy_ms: Millis,
}

/// How an invocation ended.
#[derive(Debug)]
enum Outcome {
    Returned(Returned),
    TimedOut,
    Killed,
}

/// An invocation that ended.
#[derive(Debug)]
struct Finished {
    function: usize,
    process: u32,
    environment: Environment,
    batch: Vec<Message>,
    outcome: Outcome,
    busy_ms: Millis,
}

/// An environment between two invocations.
#[derive(Debug)]
struct Idle {
    process: u32,
    environment: Environment,
    since: Millis,
}

/// The functions of one sandbox, and what runs now. Dropping it kills everything at once.
#[derive(Debug)]
pub struct Lambda<'a> {
    sandbox: &'a Sandbox,
    functions: &'a [Function],
    idle: Vec<Vec<Idle>>,
    pollers: Vec<Poller>,
    running: FuturesUnordered<LocalBoxFuture<'a, Finished>>,
}

/// Runs `functions` and the world until `until`, or until `stop` says so.
pub async fn drive(
    sandbox: &Sandbox,
    functions: &[Function],
    until: Millis,
    stop: impl Fn(&World) -> bool,
) {
    Lambda::new(sandbox, functions).drive(until, stop).await;
}

impl<'a> Lambda<'a> {
    /// Deploys `functions`; nothing runs until [`Lambda::drive`].
    pub fn new(sandbox: &'a Sandbox, functions: &'a [Function]) -> Self {
        let now = sandbox.now();
        let idle = functions.iter().map(|_| Vec::new()).collect();
        let pollers = functions.iter().map(|function| Poller::new(function, now)).collect();
        Self { sandbox, functions, idle, pollers, running: FuturesUnordered::new() }
    }

    /// Runs until `until`, or until `stop` says so; what still runs then goes on with the next drive.
    pub async fn drive(&mut self, until: Millis, stop: impl Fn(&World) -> bool) {
        loop {
            let (due, wake_at) = {
                let mut world = self.sandbox.world();
                if world.now >= until || stop(&world) {
                    return;
                }
                let due = self.due(&mut world);
                let polls = self.pollers.iter().filter_map(|poller| poller.wake_at(&world)).min();
                let next = [polls, world.next_at()].into_iter().flatten().min();
                (due, next.map_or(until, |next| next.clamp(world.now + 1, until)))
            };
            // Not while the world is locked: a fresh environment may look at it.
            for invocation in due {
                self.start(invocation);
            }
            if let Some(finished) = self.next(wake_at).await {
                self.settle(finished);
            }
        }
    }

    /// How many invocations run now.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// An invocation for every batch and tick that is due and has room.
    fn due(&mut self, world: &mut World) -> Vec<Invocation<'a>> {
        let mut due = Vec::new();
        for (index, function) in self.functions.iter().enumerate() {
            while let Some((event, batch)) = self.pollers[index].poll(world) {
                let mut start_at = world.now + world.rng.i64(world.latency.dispatch.clone());
                let fresh_until = world.now - IDLE_MS_MAX;
                let warm = self.idle[index].pop().filter(|idle| idle.since >= fresh_until);
                let (process, environment) = warm.map_or_else(
                    || {
                        start_at += world.rng.i64(world.latency.cold_start.clone());
                        (new_process(world, &function.name), None)
                    },
                    |idle| (idle.process, Some(idle.environment)),
                );
                if environment.is_none() {
                    // Those that were idle for longer than the one used last are too old as well.
                    self.idle[index].clear();
                }
                world.invocations += 1;
                let kill = Faults::kill(world, world.invocations);
                if let Some(record) = world.processes.get_mut(&process) {
                    record.invocations += 1;
                }
                let sandbox = self.sandbox;
                let deadline = start_at + function.timeout_ms;
                let times = Times { sandbox, start_at, deadline, kill };
                due.push(Invocation { function: index, process, environment, event, batch, times });
            }
        }
        due
    }

    fn start(&mut self, invocation: Invocation<'a>) {
        let Invocation { function, process, environment, event, batch, times } = invocation;
        let make = &self.functions[function].environment;
        let environment = environment.unwrap_or_else(|| make(process));
        self.running.push(Box::pin(async move {
            let outcome = times.run(&environment, event).await;
            let busy_ms = times.sandbox.now() - times.start_at;
            Finished { function, process, environment, batch, outcome, busy_ms }
        }));
    }

    /// Waits for an invocation to end; nothing when the world has to be looked at first.
    async fn next(&mut self, wake_at: Millis) -> Option<Finished> {
        let sandbox = self.sandbox;
        let mut wake = pin!(sandbox.sleep_until(wake_at));
        poll_fn(|context| {
            if let Poll::Ready(Some(finished)) = self.running.poll_next_unpin(context) {
                return Poll::Ready(Some(finished));
            }
            // A call may have planned something sooner than what this waits for.
            let sooner = sandbox.next_at().is_some_and(|at| at < wake_at);
            if sooner || wake.as_mut().poll(context).is_ready() {
                return Poll::Ready(None);
            }
            Poll::Pending
        })
        .await
    }

    /// Books an invocation that ended: the record, its messages, its environment.
    fn settle(&mut self, finished: Finished) {
        let Finished { function, process, environment, batch, outcome, busy_ms } = finished;
        let mut world = self.sandbox.world();
        if let Some(record) = world.processes.get_mut(&process) {
            record.busy_ms += busy_ms;
            match &outcome {
                Outcome::Returned(Ok(_)) => {}
                Outcome::Returned(Err(_)) => record.errors += 1,
                Outcome::TimedOut => record.timed_out = true,
                Outcome::Killed => record.killed = true,
            }
        }
        let returned = match outcome {
            Outcome::Returned(returned) => returned,
            Outcome::TimedOut | Outcome::Killed => Err("no answer".to_owned()),
        };
        let lives = world.processes.get(&process).is_some_and(|it| !it.killed && !it.timed_out);
        self.pollers[function].finish(&mut world, &batch, &returned);
        if lives {
            let since = world.now;
            self.idle[function].push(Idle { process, environment, since });
        }
    }
}

/// Notes a new process and returns its number.
pub fn new_process(world: &mut World, function: &str) -> u32 {
    let process = world.processes.keys().next_back().map_or(1, |last| last + 1);
    let record =
        Process { function: function.to_owned(), started: world.now, ..Process::default() };
    world.processes.insert(process, record);
    process
}

/// An invocation that is about to start; without an environment it gets a fresh one.
#[derive(Debug)]
struct Invocation<'a> {
    function: usize,
    process: u32,
    environment: Option<Environment>,
    event: Value,
    batch: Vec<Message>,
    times: Times<'a>,
}

/// One invocation's times, and the wait at which it is killed.
#[derive(Clone, Copy, Debug)]
struct Times<'a> {
    sandbox: &'a Sandbox,
    start_at: Millis,
    deadline: Millis,
    kill: Option<u32>,
}

impl Times<'_> {
    async fn run(&self, environment: &Environment, event: Value) -> Outcome {
        self.sandbox.sleep_until(self.start_at).await;
        let handler = Mortal { inner: (environment.0)(event, self.deadline), waits: self.kill };
        tokio::select! {
            biased;
            returned = handler => returned.map_or(Outcome::Killed, Outcome::Returned),
            () = self.sandbox.sleep_until(self.deadline) => Outcome::TimedOut,
        }
    }
}

/// A future that is killed at its n-th wait: nothing comes of it then.
struct Mortal {
    inner: LocalBoxFuture<'static, Returned>,
    waits: Option<u32>,
}

impl Future for Mortal {
    type Output = Option<Returned>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(returned) = self.inner.as_mut().poll(context) {
            return Poll::Ready(Some(returned));
        }
        if let Some(waits) = &mut self.waits {
            *waits = waits.saturating_sub(1);
            if *waits == 0 {
                return Poll::Ready(None);
            }
        }
        Poll::Pending
    }
}
