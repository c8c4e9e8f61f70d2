//! The mapping itself: one thread that polls a queue, starts processes and settles what they answer.
//!
//! When and how much it polls, how it scales, and what becomes of a batch is the sandbox's `Poller`; here is what
//! a real process adds: it starts, it may hang or die at any moment, and it is there for the next batch.

use crate::fleet::{Fleet, Job, Process};
use crate::runtime_api::RuntimeApi;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use sandbox::aws::sqs::Message;
use sandbox::aws::sts::Sts;
use sandbox::lambda::{self, Poller, Returned, Trigger};
use sandbox::{Millis, Sandbox, World};
use serde_json::Value;
use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// Lambda gives an environment ten seconds to ask for its first invocation. Who has not asked by then is started anew, and the
/// second start is a part of the invocation: its time counts against the function's timeout.
const INIT_MAX: Duration = Duration::from_secs(10);

/// The longest time between two looks at the queue and the processes. What becomes visible again is found as late as this;
/// half of it would cost processor time that the processes need.
const LOOK_MS: Millis = 25;

/// Batches that are handed out in one look: the rest waits for the next one.
const STARTS_MAX: usize = 20;

/// A function as it is deployed.
#[derive(Clone, Debug)]
pub struct Function {
    /// Its name, which is also its role's.
    pub name: String,
    /// The program.
    pub binary: PathBuf,
    /// Settings, which may replace Lambda's own variables.
    pub environment: Vec<(String, String)>,
    /// When an invocation is ended and its process killed.
    pub timeout_ms: Millis,
    /// `AWS_ENDPOINT_URL`: where the sandbox listens.
    pub aws_url: String,
    /// Where the processes' output goes, a file for each: `NAME-NUMBER.log`; `None`: nowhere.
    pub logs: Option<PathBuf>,
    /// Whether a process that waits is stopped until its next invocation, as Lambda's are.
    pub freezes: bool,
}

/// A mapping that runs; when it is dropped, its processes are killed and what they had comes back to the queue.
#[derive(Debug)]
pub struct Mapping {
    fleet: Arc<Mutex<Fleet>>,
    failures: Arc<Mutex<Vec<String>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Mapping {
    /// Begins to poll, in a thread of its own.
    pub fn start(
        sandbox: &Sandbox,
        function: Function,
        source: lambda::Mapping,
    ) -> io::Result<Self> {
        Self::start_with_init(sandbox, function, source, INIT_MAX)
    }

    /// The same with another limit on a process's first start.
    pub fn start_with_init(
        sandbox: &Sandbox,
        function: Function,
        source: lambda::Mapping,
        init_max: Duration,
    ) -> io::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let (fleet, failures) = (Arc::default(), Arc::default());
        let (sandbox, shared, failed) =
            (sandbox.clone(), Arc::clone(&fleet), Arc::clone(&failures));
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let name = format!("mapping of {}", source.queue);
        let thread = thread::Builder::new().name(name).spawn(move || {
            let poller = Poller::start(Trigger::Queue(source), sandbox.now());
            let (fleet, failures) = (shared, failed);
            let worker = Worker { sandbox, function, init_max, fleet, failures, poller };
            runtime.block_on(worker.run(stopped));
        })?;
        Ok(Self { fleet, failures, stop: Some(stop), thread: Some(thread) })
    }

    /// All processes in the order of their start, those that ended too.
    pub fn processes(&self) -> Vec<Process> {
        let mut fleet = lock(&self.fleet);
        let seen = |running: &mut crate::fleet::Running| {
            running.measure();
            running.seen.clone()
        };
        fleet.processes.values_mut().map(seen).collect()
    }

    /// How many invocations were handed out.
    pub fn invocations(&self) -> u32 {
        lock(&self.fleet).processes.values().map(|running| running.seen.invocations).sum()
    }

    /// What went wrong with starting processes, and the errors that invocations ended with.
    pub fn failures(&self) -> Vec<String> {
        lock(&self.failures).clone()
    }

    /// Kills a process at once.
    pub fn kill(&self, number: u32) -> io::Result<()> {
        lock(&self.fleet).get(number)?.kill()
    }

    /// Stops a process wherever it is; its invocation's deadline goes on.
    pub fn freeze(&self, number: u32) -> io::Result<()> {
        lock(&self.fleet).get(number)?.freeze()
    }

    /// Lets a stopped process go on.
    pub fn thaw(&self, number: u32) -> io::Result<()> {
        lock(&self.fleet).get(number)?.thaw()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in there was printed there.
            thread.join().ok();
        }
        lock(&self.fleet).end_all();
    }
}

/// What is behind a lock, also after a panic: a test that failed still ends its processes.
pub(crate) fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An invocation on its way, and the Runtime API of the process that was started for it, if one was.
struct Begun {
    number: u32,
    invocation: LocalBoxFuture<'static, Outcome>,
    api: Option<LocalBoxFuture<'static, ()>>,
}

/// The end of an invocation to wait for, and a new process's Runtime API.
type Invoked = (LocalBoxFuture<'static, Finished>, Option<LocalBoxFuture<'static, ()>>);

/// How an invocation ended.
struct Finished {
    number: u32,
    event: Value,
    batch: Vec<Message>,
    outcome: Outcome,
    busy_ms: Millis,
}

enum Outcome {
    Returned(Returned),
    /// It did not ask for its first invocation in time.
    NotStarted,
    TimedOut,
    Died,
}

/// What bounds a process's way to its invocation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Init {
    /// A limit of its own, which costs the invocation nothing.
    Free,
    /// The invocation's timeout: the start before took too long.
    Charged,
}

struct Worker {
    sandbox: Sandbox,
    function: Function,
    init_max: Duration,
    fleet: Arc<Mutex<Fleet>>,
    failures: Arc<Mutex<Vec<String>>>,
    poller: Poller,
}

impl Worker {
    async fn run(mut self, mut stopped: oneshot::Receiver<()>) {
        let mut invocations: FuturesUnordered<LocalBoxFuture<'static, Finished>> =
            FuturesUnordered::new();
        let mut apis: FuturesUnordered<LocalBoxFuture<'static, ()>> = FuturesUnordered::new();
        let arrivals = Arc::clone(&self.sandbox.world().aws.sqs.arrivals);
        loop {
            // From here on: what is sent while the queue is looked at counts, too.
            let arrival = arrivals.notified();
            lock(&self.fleet).sweep();
            if self.function.freezes {
                lock(&self.fleet).freeze_idle();
            }
            let (due, wake_at) = self.due();
            for (event, batch) in due {
                if let Some((finished, api)) = self.invoke(event, batch, Init::Free) {
                    invocations.push(finished);
                    apis.extend(api);
                }
            }
            tokio::select! {
                biased;
                _ = &mut stopped => return,
                Some(finished) = invocations.next(), if !invocations.is_empty() => {
                    if let Some((finished, api)) = self.settle(finished) {
                        invocations.push(finished);
                        apis.extend(api);
                    }
                }
                Some(()) = apis.next(), if !apis.is_empty() => {}
                () = arrival => {}
                () = self.sandbox.sleep_until(wake_at) => {}
            }
        }
    }

    /// The batches for which there is room, and when to look again.
    fn due(&mut self) -> (Vec<(Value, Vec<Message>)>, Millis) {
        let mut world = self.sandbox.world();
        let mut due = Vec::new();
        while due.len() < STARTS_MAX {
            let Some(batch) = self.poller.poll(&mut world) else { break };
            world.invocations += 1;
            due.push(batch);
        }
        let (now, latest) = (world.now, world.now + LOOK_MS);
        let wake_at = self.poller.wake_at(&world).map_or(latest, |at| at.clamp(now + 1, latest));
        (due, wake_at)
    }

    /// Hands a batch out; nothing if there is no process for it.
    fn invoke(&mut self, event: Value, batch: Vec<Message>, init: Init) -> Option<Invoked> {
        match self.begin(&event, init) {
            Ok(Begun { number, invocation, api }) => {
                let (started, sandbox) = (self.sandbox.now(), self.sandbox.clone());
                let finished = Box::pin(async move {
                    let outcome = invocation.await;
                    let busy_ms = sandbox.now() - started;
                    Finished { number, event, batch, outcome, busy_ms }
                });
                Some((finished, api))
            }
            Err(error) => {
                self.fail(format!("{}: {error}", self.function.binary.display()));
                let returned = Err(error.to_string());
                self.poller.finish(&mut self.sandbox.world(), &batch, &returned);
                None
            }
        }
    }

    /// Gives an event to an idle process or to a new one; after a start that took too long, to a new one.
    fn begin(&self, event: &Value, init: Init) -> io::Result<Begun> {
        let idle = lock(&self.fleet).idle().filter(|_| init == Init::Free);
        let (number, api) = match idle {
            Some(number) => (number, None),
            None => self.start_process().map(|(number, api)| (number, Some(api)))?,
        };
        let ((handed, was_handed), (posted, was_posted), (free, is_free)) =
            (oneshot::channel(), oneshot::channel(), oneshot::channel());
        let request_id = {
            let mut world = self.sandbox.world();
            if let Some(record) = world.processes.get_mut(&number) {
                record.invocations += 1;
            }
            random_id(&mut world)
        };
        let (timeout_ms, payload) = (self.function.timeout_ms, event.to_string());
        let ends_at = (init == Init::Charged).then(|| self.sandbox.now() + timeout_ms);
        let job = Job { request_id, payload, ends_at, handed, posted, free };
        lock(&self.fleet).give(number, job)?;
        let timeout = Duration::from_millis(timeout_ms.unsigned_abs());
        let (limit, late) = match init {
            Init::Free => (self.init_max, Outcome::NotStarted),
            Init::Charged => (timeout, Outcome::TimedOut),
        };
        let invocation = Box::pin(async move {
            let began = Instant::now();
            match tokio::time::timeout(limit, was_handed).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Outcome::Died,
                Err(_) => return late,
            }
            let end = if init == Init::Charged { began } else { Instant::now() } + timeout;
            match tokio::time::timeout_at(end, was_posted).await {
                Ok(Ok(result)) => {
                    // An answer counts, whatever becomes of the process after it.
                    tokio::time::timeout_at(end, is_free).await.ok();
                    Outcome::Returned(result.and_then(|body| {
                        serde_json::from_str(&body).map_err(|error| format!("{error}: {body}"))
                    }))
                }
                Ok(Err(_)) => Outcome::Died,
                Err(_) => Outcome::TimedOut,
            }
        });
        Ok(Begun { number, invocation, api })
    }

    /// Starts a process with Lambda's variables and a Runtime API that serves until it ends.
    fn start_process(&self) -> io::Result<(u32, LocalBoxFuture<'static, ()>)> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let listener = TcpListener::from_std(listener)?;
        let Function { name, binary, environment, aws_url, .. } = &self.function;
        let (number, region, arn, [id, secret, token]) = {
            let mut world = self.sandbox.world();
            let number = lambda::new_process(&mut world, name);
            let id = format!("ASIAEBBTIDE{number:09}");
            let [secret, token] =
                ["secret", "session"].map(|it| format!("{it}-of-process-{number}"));
            Sts::add_session(&mut world, (&id, &secret, &token), name, number);
            let (region, account) = (world.aws.region.clone(), &world.aws.account);
            let arn = format!("arn:aws:lambda:{region}:{account}:function:{name}");
            (number, region, arn, [id, secret, token])
        };
        let mut command = Command::new(binary);
        command
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", address.to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", name)
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
            .env("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")
            .env("AWS_LAMBDA_LOG_FORMAT", "JSON")
            .env("AWS_REGION", &region)
            .env("AWS_ACCESS_KEY_ID", id)
            .env("AWS_SECRET_ACCESS_KEY", secret)
            .env("AWS_SESSION_TOKEN", token)
            .env("AWS_ENDPOINT_URL", aws_url)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        self.log_to(number, &mut command)?;
        let started = Instant::now();
        let child = command.spawn()?;
        let news = Arc::new(Notify::new());
        lock(&self.fleet).add(number, child, Arc::clone(&news));
        let api = RuntimeApi {
            sandbox: self.sandbox.clone(),
            fleet: Arc::clone(&self.fleet),
            number,
            news,
            started,
            timeout_ms: self.function.timeout_ms,
            arn,
        };
        Ok((number, Box::pin(api.serve(listener))))
    }

    fn log_to(&self, number: u32, command: &mut Command) -> io::Result<()> {
        let Some(directory) = &self.function.logs else {
            command.stdout(Stdio::null()).stderr(Stdio::null());
            return Ok(());
        };
        std::fs::create_dir_all(directory)?;
        let file = directory.join(format!("{}-{number}.log", self.function.name));
        let file = File::create(file)?;
        command.stdout(file.try_clone()?).stderr(file);
        Ok(())
    }

    /// Books an invocation that ended: the record, its messages, its process. One that did not get as far as that is handed
    /// to a new process.
    fn settle(&mut self, finished: Finished) -> Option<Invoked> {
        let Finished { number, event, batch, outcome, busy_ms } = finished;
        if matches!(outcome, Outcome::NotStarted | Outcome::TimedOut) {
            let mut fleet = lock(&self.fleet);
            // One that has ended meanwhile needs no killing. One that was frozen is out of Lambda's reach: it may be thawed
            // when others have long taken over.
            let reached = fleet.get(number).ok().filter(|running| !running.seen.frozen);
            reached.map(|running| running.kill().ok());
        }
        if matches!(outcome, Outcome::NotStarted) {
            if let Ok(running) = lock(&self.fleet).get(number) {
                running.seen.init_timed_out = true;
            }
            if let Some(record) = self.sandbox.world().processes.get_mut(&number) {
                // It was given none after all.
                record.invocations -= 1;
                record.killed = true;
            }
            let seconds = self.init_max.as_secs_f64();
            self.fail(format!(
                "process {number} asked for nothing within {seconds} s: started anew"
            ));
            return self.invoke(event, batch, Init::Charged);
        }
        let mut world = self.sandbox.world();
        if let Some(record) = world.processes.get_mut(&number) {
            record.busy_ms += busy_ms;
            match &outcome {
                Outcome::Returned(Ok(_)) | Outcome::NotStarted => {}
                Outcome::Returned(Err(_)) => record.errors += 1,
                Outcome::TimedOut => record.timed_out = true,
                Outcome::Died => record.killed = true,
            }
        }
        let returned = match outcome {
            Outcome::Returned(returned) => returned,
            Outcome::TimedOut | Outcome::NotStarted => {
                Err(format!("process {number} ran into its timeout"))
            }
            Outcome::Died => Err(format!("process {number} ended without an answer")),
        };
        self.poller.finish(&mut world, &batch, &returned);
        drop(world);
        if let Err(error) = returned {
            self.fail(error);
        }
        None
    }

    fn fail(&self, words: String) {
        lock(&self.failures).push(words);
    }
}

/// A request's id, from the world's chance.
fn random_id(world: &mut World) -> String {
    format!("8476a536-e9f4-41e8-9739-{:012x}", world.rng.u64(..) >> 16)
}
