//! The Lambda Runtime API of one process: next, response, error, init/error.
//!
//! Shape and headers are those of <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>. An
//! invocation's deadline is counted from the moment in which it is handed out, so a cold start costs none of it, unless it is
//! the second one after a first that took too long.

use crate::fleet::{Fleet, State};
use crate::mapping::lock;
use crate::proc;
use sandbox::Sandbox;
use sandbox::serve::http::{self, Request, Response};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::Instant;

const ROOT: &str = "/2018-06-01/runtime/";

/// One process's Runtime API.
#[derive(Clone, Debug)]
pub(crate) struct RuntimeApi {
    pub(crate) sandbox: Sandbox,
    pub(crate) fleet: Arc<Mutex<Fleet>>,
    pub(crate) number: u32,
    pub(crate) news: Arc<Notify>,
    /// When the process was started.
    pub(crate) started: Instant,
    /// The function's timeout in milliseconds.
    pub(crate) timeout_ms: i64,
    /// The function's ARN.
    pub(crate) arn: String,
}

impl RuntimeApi {
    /// Serves until the process has ended.
    pub(crate) async fn serve(self, listener: TcpListener) {
        let answer = |request| {
            let api = self.clone();
            async move { api.answer(request).await }
        };
        let ended = async {
            while lock(&self.fleet).processes.get(&self.number).is_some_and(is_alive) {
                tokio::time::sleep(ENDED_LOOK).await;
            }
        };
        tokio::select! {
            biased;
            () = ended => {}
            () = http::serve(&listener, answer) => {}
        }
    }

    async fn answer(&self, request: Request) -> Option<Response> {
        let route = request.path.strip_prefix(ROOT).unwrap_or_default();
        if (request.method.as_str(), route) == ("GET", "invocation/next") {
            return self.next().await;
        }
        let body = String::from_utf8_lossy(&request.body).into_owned();
        let taken = match route.split('/').collect::<Vec<_>>().as_slice() {
            ["invocation", id, "response"] => self.post(id, Ok(body)),
            ["invocation", id, "error"] => self.post(id, Err(body)),
            // The process ends by itself then.
            ["init", "error"] => true,
            _ => return Some(Response::json(404, r#"{"errorType":"NotFound"}"#)),
        };
        if taken {
            return Some(Response::json(202, r#"{"status":"OK"}"#));
        }
        let words = r#"{"errorMessage":"Invalid request ID","errorType":"InvalidRequestID"}"#;
        Some(Response::json(400, words))
    }

    /// Waits for an invocation and hands it out; nothing when the process has ended.
    async fn next(&self) -> Option<Response> {
        self.note_asked();
        loop {
            {
                let mut fleet = lock(&self.fleet);
                let running = fleet.get(self.number).ok()?;
                if let Some(job) = running.job.take() {
                    running.seen.state = State::Busy;
                    running.seen.invocations += 1;
                    running.pending = Some((job.request_id.clone(), job.posted));
                    running.free = Some(job.free);
                    let from_now = || self.sandbox.now() + self.timeout_ms;
                    let deadline = job.ends_at.unwrap_or_else(from_now);
                    // Who gave it up meanwhile hears nothing of its answer either.
                    job.handed.send(()).ok();
                    return Some(self.invocation(&job.request_id, deadline, job.payload));
                }
                // Who gave it up meanwhile does not wait.
                running.free.take().map(|free| free.send(()).ok());
                match running.seen.state {
                    State::Ended => return None,
                    State::Init | State::Busy => running.seen.state = State::Idle,
                    State::Idle => {}
                }
            }
            self.news.notified().await;
        }
    }

    /// What the first `next` tells of the start.
    fn note_asked(&self) {
        let mut fleet = lock(&self.fleet);
        let Ok(running) = fleet.get(self.number) else { return };
        running.measure();
        if running.seen.start_to_next.is_none() {
            running.seen.start_to_next = Some(self.started.elapsed());
            running.seen.cpu_to_next = proc::cpu_time(running.seen.pid);
        }
    }

    fn post(&self, id: &str, result: Result<String, String>) -> bool {
        let mut fleet = lock(&self.fleet);
        let Ok(running) = fleet.get(self.number) else { return false };
        match running.pending.take_if(|(pending, _)| pending == id) {
            // Who gave up does not want it any more.
            Some((_, waits)) => waits.send(result).is_ok(),
            None => false,
        }
    }

    fn invocation(&self, request_id: &str, deadline: i64, payload: String) -> Response {
        let trace = "Root=1-6922d1f8-0a1b2c3d4e5f607182930a1b;Parent=0a1b2c3d4e5f6071;Sampled=0";
        Response {
            status: 200,
            headers: vec![
                ("content-type", "application/json".to_owned()),
                ("lambda-runtime-aws-request-id", request_id.to_owned()),
                ("lambda-runtime-deadline-ms", deadline.to_string()),
                ("lambda-runtime-invoked-function-arn", self.arn.clone()),
                ("lambda-runtime-trace-id", trace.to_owned()),
            ],
            body: payload.into_bytes(),
        }
    }
}

/// How soon the end of a process closes its Runtime API: nobody waits for that.
const ENDED_LOOK: Duration = Duration::from_millis(500);

fn is_alive(running: &crate::fleet::Running) -> bool {
    running.seen.state != State::Ended
}
