//! The Lambda Runtime API, as far as a custom runtime needs it: next, response, error, init/error.
//!
//! Shape and headers are those of <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>. An invocation is
//! handed out when the runtime asks for the next one, and what it posts about it comes back through a channel.

use crate::http::{Request, Response, serve};
use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The function's name, whichever it is: nothing depends on it.
pub const FUNCTION_NAME: &str = "ebbtide";

/// The ARN that invocations carry; the account is made up.
pub const FUNCTION_ARN: &str = "arn:aws:lambda:eu-west-1:111122223333:function:ebbtide";

const ROOT: &str = "/2018-06-01/runtime/";

/// One invocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// `Lambda-Runtime-Aws-Request-Id`
    pub request_id: String,
    /// `Lambda-Runtime-Deadline-Ms`, since 1970.
    pub deadline_ms: i64,
    /// The event, JSON.
    pub payload: String,
}

/// What the runtime posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Posted {
    /// The function's answer to an invocation.
    Response {
        /// To which.
        request_id: String,
        /// JSON.
        body: String,
    },
    /// The function failed.
    Error {
        /// In which invocation.
        request_id: String,
        /// JSON: errorType, errorMessage.
        body: String,
    },
    /// The function did not start.
    InitError(String),
}

/// A Runtime API for one environment. When it is dropped, the runtime is hung up on.
#[derive(Debug)]
pub struct RuntimeApi {
    address: SocketAddr,
    invocations: Sender<Invocation>,
    posted: Receiver<Posted>,
}

impl RuntimeApi {
    /// Begins to listen.
    pub fn start() -> io::Result<Self> {
        let (invocations, queue) = channel();
        let (post, posted) = channel();
        let queue = Mutex::new(queue);
        let address = serve(move |request| answer(request, &queue, &post))?;
        Ok(Self { address, invocations, posted })
    }

    /// What `AWS_LAMBDA_RUNTIME_API` is to be set to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Queues an invocation.
    pub fn send(&self, invocation: Invocation) {
        // The receiver lives as long as the listener, which lives as long as the process.
        self.invocations.send(invocation).ok();
    }

    /// What is posted next, within this time.
    pub fn next(&self, wait: Duration) -> Result<Posted, RecvTimeoutError> {
        self.posted.recv_timeout(wait)
    }
}

fn answer(
    request: &Request,
    queue: &Mutex<Receiver<Invocation>>,
    post: &Sender<Posted>,
) -> Option<Response> {
    let route = request.path.strip_prefix(ROOT).unwrap_or_default();
    if (request.method.as_str(), route) == ("GET", "invocation/next") {
        // Blocks until there is one, as the real one does; ends with the RuntimeApi.
        return queue.lock().unwrap_or_else(PoisonError::into_inner).recv().ok().map(next);
    }
    let body = request.body.clone();
    let posted = match route.split('/').collect::<Vec<_>>().as_slice() {
        ["invocation", id, "response"] => Posted::Response { request_id: (*id).to_owned(), body },
        ["invocation", id, "error"] => Posted::Error { request_id: (*id).to_owned(), body },
        ["init", "error"] => Posted::InitError(body),
        _ => return Some(Response::new(404, "application/json", r#"{"errorType":"NotFound"}"#)),
    };
    post.send(posted).ok()?;
    Some(Response::new(202, "application/json", r#"{"status":"OK"}"#))
}

fn next(invocation: Invocation) -> Response {
    let trace = "Root=1-6922d1f8-0a1b2c3d4e5f607182930a1b;Parent=0a1b2c3d4e5f6071;Sampled=0";
    Response {
        status: 200,
        headers: vec![
            ("content-type", "application/json".to_owned()),
            ("lambda-runtime-aws-request-id", invocation.request_id),
            ("lambda-runtime-deadline-ms", invocation.deadline_ms.to_string()),
            ("lambda-runtime-invoked-function-arn", FUNCTION_ARN.to_owned()),
            ("lambda-runtime-trace-id", trace.to_owned()),
        ],
        body: invocation.payload,
    }
}
