//! A function that does what its messages say, for tests of the mapping itself: plain sockets, no runtime crate.
//!
//! ```text
//!   ok          answered                 fail   the message is among batchItemFailures
//!   hang        never answers            throw  the invocation is an error
//!   exit        the process ends         hold   answered after the milliseconds that follow: `hold 300`
//! ```

use serde_json::{Value, json};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

const ROOT: &str = "/2018-06-01/runtime";

/// Longer than any function's timeout.
const HANG: Duration = Duration::from_secs(900);

#[expect(clippy::disallowed_methods, reason = "a function is told by its environment what to do")]
fn main() -> io::Result<()> {
    let address = std::env::var("AWS_LAMBDA_RUNTIME_API").map_err(io::Error::other)?;
    if std::env::var("START_HANGS").is_ok_and(|who| hangs(&who)) {
        thread::sleep(HANG);
    }
    let mut stream = BufReader::new(TcpStream::connect(&address)?);
    loop {
        let (headers, body) = exchange(&mut stream, "GET", "invocation/next", "")?;
        let name = "lambda-runtime-aws-request-id: ";
        let id = headers.iter().find_map(|header| header.strip_prefix(name));
        let id = id.ok_or_else(|| io::Error::other("no request id"))?.trim().to_owned();
        let event: Value = serde_json::from_str(&body)?;
        let (kind, answer) = match act(&event) {
            Some(failures) => ("response", json!({ "batchItemFailures": failures })),
            None => ("error", json!({ "errorType": "Thrown", "errorMessage": "as told" })),
        };
        exchange(&mut stream, "POST", &format!("invocation/{id}/{kind}"), &answer.to_string())?;
    }
}

/// Whether this process is one that hangs at its start: always, or who makes the file that is named.
fn hangs(who: &str) -> bool {
    who == "always" || std::fs::File::create_new(who).is_ok()
}

/// Does what each message says; the failures, or nothing for an error of the whole.
fn act(event: &Value) -> Option<Vec<Value>> {
    let mut failures = Vec::new();
    for record in event["Records"].as_array().into_iter().flatten() {
        let body = record["body"].as_str().unwrap_or_default();
        match body.split_once(' ').unwrap_or((body, "")) {
            ("fail", _) => failures.push(json!({ "itemIdentifier": record["messageId"] })),
            ("throw", _) => return None,
            ("exit", _) => std::process::exit(7),
            ("hang", _) => thread::sleep(HANG),
            ("hold", ms) => thread::sleep(Duration::from_millis(ms.parse().unwrap_or(0))),
            _ => {}
        }
    }
    Some(failures)
}

/// One request and its answer: header lines and body.
fn exchange(
    stream: &mut BufReader<TcpStream>,
    method: &str,
    path: &str,
    body: &str,
) -> io::Result<(Vec<String>, String)> {
    let length = body.len();
    let head = format!(
        "{method} {ROOT}/{path} HTTP/1.1\r\nhost: lambda\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.get_mut().write_all(head.as_bytes())?;
    stream.get_mut().write_all(body.as_bytes())?;
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Err(io::Error::other("hung up"));
        }
        if line.trim().is_empty() {
            break;
        }
        headers.push(line.trim_end().to_owned());
    }
    let name = "content-length: ";
    let length = headers.iter().find_map(|header| header.strip_prefix(name));
    let mut body = vec![0; length.and_then(|length| length.trim().parse().ok()).unwrap_or(0)];
    stream.read_exact(&mut body)?;
    Ok((headers, String::from_utf8(body).map_err(io::Error::other)?))
}
