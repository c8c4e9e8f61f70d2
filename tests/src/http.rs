//! As much of an HTTP/1.1 server as two well-known clients need: a thread for each connection, bodies with a length.
//!
//! Written out here because a server crate would be linked for some eighty lines of use, and because what reaches the
//! wire is then seen as it is.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

/// The longest body that is read: SQS batches end at 256 KB, Lambda's payloads at 6 MB.
const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Header lines of one request; our two clients send about fifteen.
const HEADERS_MAX: usize = 100;

/// A request as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `POST`.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// By name in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body, which for our clients is text.
    pub body: String,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// Besides the length.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: String,
}

impl Response {
    /// An answer with a status and a body of this type.
    pub fn new(status: u16, kind: &str, body: impl Into<String>) -> Self {
        Self { status, headers: vec![("content-type", kind.to_owned())], body: body.into() }
    }
}

/// Listens on a free port of loopback and answers until the process ends; `None` hangs up without an answer.
pub fn serve(
    answer: impl Fn(&Request) -> Option<Response> + Send + Sync + 'static,
) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let answer = Arc::clone(&answer);
            // A connection that breaks is its client's to notice.
            thread::spawn(move || converse(stream, answer.as_ref()).ok());
        }
    });
    Ok(address)
}

/// Request after request on one connection.
fn converse(
    stream: TcpStream,
    answer: &(impl Fn(&Request) -> Option<Response> + ?Sized),
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut out = stream.try_clone()?;
    let mut input = BufReader::new(stream);
    while let Some(request) = read(&mut input)? {
        let Some(response) = answer(&request) else { return Ok(()) };
        write(&mut out, &response)?;
    }
    Ok(())
}

/// The next request; `None` when the client has hung up.
fn read(input: &mut impl BufRead) -> io::Result<Option<Request>> {
    let Some(first) = line(input)? else { return Ok(None) };
    let mut words = first.split(' ');
    let (Some(method), Some(path)) = (words.next(), words.next()) else {
        return Err(io::Error::other("no request line"));
    };
    let (method, path) = (method.to_owned(), path.to_owned());
    let mut headers = BTreeMap::new();
    for _ in 0..HEADERS_MAX {
        let header = line(input)?.unwrap_or_default();
        if header.is_empty() {
            break;
        }
        if let Some((name, value)) = header.split_once(':') {
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    let length = headers.get("content-length").map_or(Ok(0), |length| length.parse());
    let length = length.ok().filter(|length| *length <= BODY_BYTES_MAX);
    let is_chunked = headers.contains_key("transfer-encoding");
    let Some(length) = length.filter(|_| !is_chunked) else {
        return Err(io::Error::other("a body without a length that can be read"));
    };
    let mut body = vec![0; length];
    input.read_exact(&mut body)?;
    let body = String::from_utf8(body).map_err(io::Error::other)?;
    Ok(Some(Request { method, path, headers, body }))
}

fn line(input: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut text = String::new();
    let taken = Read::take(input, 64 * 1024).read_line(&mut text)?;
    Ok((taken > 0).then(|| text.trim_end().to_owned()))
}

fn write(out: &mut impl Write, response: &Response) -> io::Result<()> {
    let mut text = format!("HTTP/1.1 {} -\r\n", response.status);
    for (name, value) in &response.headers {
        text.push_str(&[*name, ": ", value, "\r\n"].concat());
    }
    text.push_str(&["content-length: ", &response.body.len().to_string(), "\r\n\r\n"].concat());
    text.push_str(&response.body);
    out.write_all(text.as_bytes())?;
    out.flush()
}
