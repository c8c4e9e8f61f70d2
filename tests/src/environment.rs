//! One environment of a function as Lambda makes it: a process of the real binary with Lambda's variables.
//!
//! The process gets no other variable than those named here, so that nothing of the machine it runs on reaches it.

use crate::aws::{Account, Aws};
use crate::lambda::{FUNCTION_NAME, Invocation, Posted, RuntimeApi};
use serde_json::Value;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// The longest wait for an answer or an end: four slices.
const WAIT: Duration = Duration::from_secs(60);

/// So many times in that wait it is asked whether the process still runs: every tenth of a second.
const LOOKS: u32 = 600;

/// The queue's URL, and the dead-letter queue's, for a function that is to have them.
pub const QUEUES: [(&str, &str); 2] = [
    ("QUEUE_URL", "https://sqs.eu-west-1.amazonaws.com/111122223333/ebbtide"),
    ("DEAD_LETTER_QUEUE_URL", "https://sqs.eu-west-1.amazonaws.com/111122223333/ebbtide-dead"),
];

/// A running function, its Runtime API and its AWS.
#[derive(Debug)]
pub struct Environment {
    /// The services that it talks to.
    pub aws: Aws,
    api: RuntimeApi,
    child: Child,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
    invocations: u32,
}

/// What is left of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How it ended.
    pub status: ExitStatus,
    /// Its log.
    pub stdout: String,
    /// Its last words.
    pub stderr: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Nothing was posted in time, and nothing will be.
    #[error("nothing within {} s", WAIT.as_secs())]
    Silence(#[source] RecvTimeoutError),
    /// The process ended before it posted anything.
    #[error("the function ended ({0})")]
    Ended(ExitStatus),
    /// Whether it still runs can't be said.
    #[error("ask for the function's end")]
    Process(#[source] io::Error),
    /// Something else was posted.
    #[error("the function posted {0:?}")]
    Posted(Posted),
    /// The answer is not JSON.
    #[error("the answer is not JSON")]
    Json(#[source] serde_json::Error),
}

impl Environment {
    /// Starts the binary with Lambda's variables and these settings, which may replace them.
    pub fn start(binary: &Path, account: Account, settings: &[(&str, &str)]) -> io::Result<Self> {
        let (api, aws) = (RuntimeApi::start()?, Aws::start(account)?);
        let mut child = Command::new(binary)
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", api.address().to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", FUNCTION_NAME)
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
            .env("AWS_LAMBDA_LOG_FORMAT", "JSON")
            .env("AWS_REGION", "eu-west-1")
            .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
            .env("AWS_SESSION_TOKEN", "an-example")
            .env("AWS_ENDPOINT_URL", aws.url())
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (stdout, stderr) = (collect(child.stdout.take()), collect(child.stderr.take()));
        Ok(Self { aws, api, child, stdout, stderr, invocations: 0 })
    }

    /// Invokes the function and waits for its answer.
    pub fn invoke(&mut self, payload: &str, deadline_ms: i64) -> Result<Value, Failure> {
        self.invocations += 1;
        let request_id = format!("8476a536-e9f4-11e8-9739-{:012}", self.invocations);
        let payload = payload.to_owned();
        self.api.send(Invocation { request_id: request_id.clone(), deadline_ms, payload });
        match self.posted()? {
            Posted::Response { request_id: id, body } if id == request_id => {
                serde_json::from_str(&body).map_err(Failure::Json)
            }
            other => Err(Failure::Posted(other)),
        }
    }

    /// What is posted next, as long as there is somebody to post it.
    fn posted(&mut self) -> Result<Posted, Failure> {
        let mut last = RecvTimeoutError::Timeout;
        for _ in 0..LOOKS {
            // Asked first: what was posted before the end is still there.
            let ended = self.child.try_wait().map_err(Failure::Process)?;
            match (self.api.next(WAIT / LOOKS), ended) {
                (Ok(posted), _) => return Ok(posted),
                (Err(_), Some(status)) => return Err(Failure::Ended(status)),
                (Err(silence), None) => last = silence,
            }
        }
        Err(Failure::Silence(last))
    }

    /// Ends the process and returns what it has written.
    pub fn end(mut self) -> io::Result<Ended> {
        self.child.kill()?;
        self.wait()
    }

    /// Waits until the process ends by itself.
    pub fn wait(mut self) -> io::Result<Ended> {
        // A pipe is at its end when the process is, so these are what is waited for.
        let read = |pipe: &Receiver<String>| pipe.recv_timeout(WAIT).map_err(io::Error::other);
        let (stderr, stdout) = (read(&self.stderr)?, read(&self.stdout)?);
        Ok(Ended { status: self.child.wait()?, stdout, stderr })
    }
}

impl Drop for Environment {
    fn drop(&mut self) {
        // Fails only if it has ended already.
        self.child.kill().and_then(|()| self.child.wait()).ok();
    }
}

/// Reads a pipe to its end beside us.
fn collect(pipe: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (send, text) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = pipe.map_or(Ok(0), |mut pipe| pipe.read_to_end(&mut bytes));
        // Who does not wait for it does not need it.
        read.ok().and_then(|_| send.send(String::from_utf8_lossy(&bytes).into_owned()).ok());
    });
    text
}
