//! An authentication webhook that knows one token: TokenReviews over plain HTTP on loopback.

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// It answers from a thread of its own until the process ends.
pub(crate) struct Webhook {
    url: String,
    asked: Arc<Mutex<BTreeSet<String>>>,
}

impl Webhook {
    /// One to whom this token belongs to this user of this group, and all others to nobody.
    pub(crate) fn knowing(token: &'static str, user: &'static str, group: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/authenticate", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(BTreeSet::new()));
        let seen = asked.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let Some(mut review) = connection.ok().as_mut().and_then(read) else { continue };
                let shown = review.1["spec"]["token"].as_str().unwrap_or_default().to_owned();
                let status = if shown == token {
                    json!({"authenticated": true, "user": {"username": user, "groups": [group]}})
                } else {
                    json!({"authenticated": false})
                };
                seen.lock().unwrap().insert(shown);
                review.1["status"] = status;
                answer(&mut review.0, &review.1);
            }
        });
        Self { url, asked }
    }

    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }

    /// Every token that it was shown.
    pub(crate) fn asked_for(&self) -> BTreeSet<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// One request, and the connection to answer it on.
fn read(connection: &mut TcpStream) -> Option<(TcpStream, Value)> {
    let mut reader = BufReader::new(connection.try_clone().ok()?);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim_end().to_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((connection.try_clone().ok()?, serde_json::from_slice(&body).ok()?))
}

fn answer(connection: &mut TcpStream, review: &Value) {
    let body = review.to_string();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close";
    write!(connection, "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
}
