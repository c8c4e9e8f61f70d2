//! The processes of one function, shared between the mapping's thread and whoever kills and freezes them.
//!
//! ```text
//!   Init ── GET next ──> Idle ── a batch ──> Busy ── response, GET next ──> Idle
//!     └──────────── killed, exited, timed out ──> Ended
//! ```

use crate::proc;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::io;
use std::process::{Child, ExitStatus};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// A process that was idle for longer is taken away, as Lambda does after some minutes.
const IDLE_MAX: Duration = Duration::from_secs(480);

/// What a process does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// It has not asked for its first invocation yet.
    Init,
    /// It waits for the next invocation.
    Idle,
    /// It has one.
    Busy,
    /// It is gone.
    Ended,
}

/// A process as a test sees it.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its number: calls in the sandbox carry it too.
    pub number: u32,
    /// The system's number.
    pub pid: u32,
    /// What it does.
    pub state: State,
    /// Whether it is stopped by a signal.
    pub frozen: bool,
    /// How many invocations it was handed.
    pub invocations: u32,
    /// From its start to its first `next`.
    pub start_to_next: Option<Duration>,
    /// The processor time that it had used by its first `next`.
    pub cpu_to_next: Option<Duration>,
    /// The most memory that it held when it was last looked at, in bytes.
    pub peak_memory_bytes: Option<u64>,
    /// Whether it was ended because it did not ask for its first invocation in time.
    pub init_timed_out: bool,
    /// How it ended.
    pub exit: Option<ExitStatus>,
}

/// An invocation that waits for its process to ask for it.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) request_id: String,
    pub(crate) payload: String,
    /// When its timeout is over, in the world's milliseconds; `None`: counted from when it is handed out.
    pub(crate) ends_at: Option<i64>,
    /// Told when it is handed out.
    pub(crate) handed: oneshot::Sender<()>,
    /// Told what comes of it: the answer's body, or the error's.
    pub(crate) posted: oneshot::Sender<Result<String, String>>,
    /// Told when the process asks for the next one: only then has it room again.
    pub(crate) free: oneshot::Sender<()>,
}

/// A process and its Runtime API's side of things.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    pub(crate) seen: Process,
    /// When it was given its last invocation.
    pub(crate) used_at: Instant,
    pub(crate) job: Option<Job>,
    /// The invocation that it has, and who waits for its answer.
    pub(crate) pending: Option<(String, oneshot::Sender<Result<String, String>>)>,
    /// Who waits for it to ask for the next one.
    pub(crate) free: Option<oneshot::Sender<()>>,
    /// Told when there is a job, and when the process has ended.
    pub(crate) news: Arc<Notify>,
}

/// All processes by number, those that ended too.
#[derive(Debug, Default)]
pub(crate) struct Fleet {
    pub(crate) processes: BTreeMap<u32, Running>,
}

impl Fleet {
    pub(crate) fn add(&mut self, number: u32, child: Child, news: Arc<Notify>) {
        let seen = Process {
            number,
            pid: child.id(),
            state: State::Init,
            frozen: false,
            invocations: 0,
            start_to_next: None,
            cpu_to_next: None,
            peak_memory_bytes: None,
            init_timed_out: false,
            exit: None,
        };
        let used_at = Instant::now();
        let running = Running { child, seen, used_at, job: None, pending: None, free: None, news };
        self.processes.insert(number, running);
    }

    /// The idle process that was used last, if any is idle.
    pub(crate) fn idle(&self) -> Option<u32> {
        let idle = self.processes.values().filter(|it| it.seen.state == State::Idle);
        idle.max_by_key(|it| it.used_at).map(|it| it.seen.number)
    }

    /// Lays an invocation out for a process; a frozen one is thawed for it, as Lambda does.
    pub(crate) fn give(&mut self, number: u32, job: Job) -> io::Result<()> {
        let running = self.get(number)?;
        running.thaw()?;
        running.used_at = Instant::now();
        if running.seen.state == State::Idle {
            running.seen.state = State::Busy;
        }
        running.job = Some(job);
        running.news.notify_one();
        Ok(())
    }

    /// Sees which processes have ended by themselves, and ends those that were idle for long.
    pub(crate) fn sweep(&mut self) {
        for running in self.processes.values_mut() {
            if running.seen.state == State::Ended {
                continue;
            }
            if let Ok(Some(status)) = running.child.try_wait() {
                running.ended(status);
            } else if running.seen.state == State::Idle && running.used_at.elapsed() > IDLE_MAX {
                // One that has just ended by itself is seen by the next sweep.
                running.kill().ok();
            }
        }
    }

    /// Stops those that wait, as Lambda does between two invocations.
    pub(crate) fn freeze_idle(&mut self) {
        let waits =
            |running: &&mut Running| running.seen.state == State::Idle && !running.seen.frozen;
        for running in self.processes.values_mut().filter(waits) {
            // One that has just ended is seen by the next sweep.
            running.freeze().ok();
        }
    }

    pub(crate) fn get(&mut self, number: u32) -> io::Result<&mut Running> {
        let missing = || io::Error::other(format!("no process {number}"));
        self.processes.get_mut(&number).ok_or_else(missing)
    }

    pub(crate) fn end_all(&mut self) {
        for running in self.processes.values_mut() {
            // One that has ended already cannot be killed.
            running.kill().ok();
        }
    }
}

impl Running {
    /// SIGKILL, and waits for the end, which comes at once.
    pub(crate) fn kill(&mut self) -> io::Result<()> {
        if self.seen.state == State::Ended {
            return Err(io::Error::other(format!("process {} has ended", self.seen.number)));
        }
        self.measure();
        self.child.kill()?;
        let status = self.child.wait()?;
        self.ended(status);
        Ok(())
    }

    /// SIGSTOP.
    pub(crate) fn freeze(&mut self) -> io::Result<()> {
        self.signal(Signal::STOP)?;
        self.seen.frozen = true;
        Ok(())
    }

    /// SIGCONT, if it is frozen.
    pub(crate) fn thaw(&mut self) -> io::Result<()> {
        if self.seen.frozen {
            self.signal(Signal::CONT)?;
            self.seen.frozen = false;
        }
        Ok(())
    }

    /// Looks at what it has used so far.
    pub(crate) fn measure(&mut self) {
        // Once it has ended, its number may be another's.
        if self.seen.state == State::Ended {
            return;
        }
        let peak = proc::peak_memory_bytes(self.seen.pid);
        self.seen.peak_memory_bytes = self.seen.peak_memory_bytes.max(peak);
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        // Until it was waited for, its number is nobody else's.
        let pid = i32::try_from(self.seen.pid).ok().and_then(Pid::from_raw);
        match pid.filter(|_| self.seen.state != State::Ended) {
            Some(pid) => Ok(kill_process(pid, signal)?),
            None => Err(io::Error::other(format!("process {} has ended", self.seen.number))),
        }
    }

    fn ended(&mut self, status: ExitStatus) {
        self.seen.state = State::Ended;
        self.seen.exit = Some(status);
        self.seen.frozen = false;
        // Whoever waits for an answer hears that there is none.
        self.job = None;
        self.pending = None;
        self.free = None;
        self.news.notify_one();
    }
}
