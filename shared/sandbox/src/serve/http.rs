//! HTTP/1.1 on a listener, by hyper: one future for all connections, so that dropping it closes them all.
//!
//! Also what a stand-in for another service on loopback is made of, such as a Runtime API.

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::collections::BTreeMap;
use std::fmt;
use tokio::net::{TcpListener, TcpStream};

/// The longest body that is read: SQS batches end at 1 MB, Lambda's payloads at 6 MB.
const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A request as it arrived.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// `GET`, `POST`.
    pub method: String,
    /// Path and query, as they were sent.
    pub path: String,
    /// By name in lower case; several of one name are joined by commas.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// Besides the length.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// An answer in JSON.
    pub fn json(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let headers = vec![("content-type", "application/json".to_owned())];
        Self { status, headers, body: body.into() }
    }
}

/// Accepts connections and answers what comes in on them, for as long as this is polled. An answer of `None`
/// breaks the connection. A client that hangs up drops the future that was to answer it.
pub async fn serve<F, R>(listener: &TcpListener, answer: F)
where
    F: Fn(Request) -> R,
    R: Future<Output = Option<Response>>,
{
    let mut open = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            accepted = listener.accept() => {
                // A connection that was given up before it was accepted is nobody's loss.
                if let Ok((stream, _)) = accepted {
                    open.push(converse(stream, &answer));
                }
            }
            Some(()) = open.next(), if !open.is_empty() => {}
        }
    }
}

/// Request after request on one connection.
async fn converse<F, R>(stream: TcpStream, answer: &F)
where
    F: Fn(Request) -> R,
    R: Future<Output = Option<Response>>,
{
    stream.set_nodelay(true).ok();
    let service = service_fn(|request| async move {
        let request = read(request).await.ok_or(HungUp)?;
        let answer = answer(request).await.ok_or(HungUp)?;
        write(answer)
    });
    let connection = hyper::server::conn::http1::Builder::new();
    // A connection that breaks is its client's to notice.
    connection.serve_connection(TokioIo::new(stream), service).await.ok();
}

async fn read(request: hyper::Request<Incoming>) -> Option<Request> {
    let (parts, body) = request.into_parts();
    let mut headers: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in &parts.headers {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        headers
            .entry(name.as_str().to_owned())
            .and_modify(|before| *before = format!("{before},{value}"))
            .or_insert(value);
    }
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let method = parts.method.as_str().to_owned();
    let body = Limited::new(body, BODY_BYTES_MAX).collect().await.ok()?.to_bytes().to_vec();
    Some(Request { method, path, headers, body })
}

fn write(answer: Response) -> Result<hyper::Response<Full<Bytes>>, HungUp> {
    let mut response = hyper::Response::builder().status(answer.status);
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    response.body(Full::from(answer.body)).map_err(|_| HungUp)
}

/// There is no answer.
#[derive(Debug)]
struct HungUp;

impl fmt::Display for HungUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("hung up")
    }
}

impl std::error::Error for HungUp {}
