//! The real connection, on loopback and on the running clock: TLS, the token, and what fails there.

use crate::fake::{list, node_name};
use cluster::{Bearer, Endpoint};
use decision::step::Class;
use http::HeaderValue;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

const UNAUTHORIZED: &str = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",
  "message":"Unauthorized","reason":"Unauthorized","code":401}"#;

/// An HTTPS server on loopback. Each connection serves this many requests; heads are handed out.
fn serve(requests_per_connection: usize) -> (Endpoint, Receiver<String>) {
    serve_all_but(requests_per_connection, &[])
}

/// The same, which answers 401 to these tokens.
fn serve_all_but(
    requests_per_connection: usize,
    refused: &'static [&'static str],
) -> (Endpoint, Receiver<String>) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let (heads, seen) = channel();
    std::thread::spawn(move || {
        for tcp in listener.incoming() {
            let connection = ServerConnection::new(config.clone()).unwrap();
            let mut stream = StreamOwned::new(connection, tcp.unwrap());
            for _ in 0..requests_per_connection {
                let Some(head) = head(&mut stream) else { break };
                let token = |token: &&str| head.contains(&format!("bearer {token}\r\n"));
                let (status, body) = match refused.iter().any(token) {
                    true => ("401 Unauthorized", UNAUTHORIZED.to_owned()),
                    false => ("200 OK", list(&[])),
                };
                let length = body.len();
                write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}")
                    .unwrap();
                if heads.send(head).is_err() {
                    return;
                }
            }
        }
    });
    (Endpoint { url, ca_pem: cert.pem().into_bytes() }, seen)
}

/// One request without a body; `None` when the connection ends.
fn head(stream: &mut impl Read) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.extend(byte);
    }
    Some(String::from_utf8(head).unwrap().to_lowercase())
}

/// A token that says how often it was asked for, and the last header handed out.
fn counting() -> (Bearer, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let asked = count.clone();
    let header = Arc::new(move || {
        let number = asked.fetch_add(1, Ordering::SeqCst) + 1;
        Ok(HeaderValue::from_str(&format!("Bearer token-{number}"))?)
    });
    (Bearer { header, refused: Arc::new(|_| {}) }, count)
}

#[tokio::test]
async fn each_request_carries_a_token_asked_for_then() {
    let (endpoint, seen) = serve(3);
    let (bearer, asked) = counting();
    let client = cluster::dial(&endpoint, bearer).unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 0, "nothing is sent or signed ahead");
    for number in 1..=3 {
        cluster::pods_on(&client, &node_name()).await.unwrap();
        let head = seen.recv().unwrap();
        assert!(head.starts_with("get /api/v1/pods?fieldselector="), "{head}");
        assert!(head.contains(&format!("\r\nauthorization: bearer token-{number}\r\n")), "{head}");
        assert!(head.contains(&endpoint.url.replace("https://", "\r\nhost: ")), "{head}");
        assert!(head.contains("\r\nuser-agent: ebbtide/"), "{head}");
    }
}

#[tokio::test]
async fn a_token_that_is_answered_with_401_is_named_and_its_request_is_not_repeated() {
    let (endpoint, seen) = serve_all_but(4, &["token-1", "token-2"]);
    let (Bearer { header, .. }, asked) = counting();
    let dropped = Arc::new(Mutex::new(Vec::new()));
    let refused = dropped.clone();
    let refused = Arc::new(move |header: &HeaderValue| {
        refused.lock().unwrap().push(header.to_str().unwrap().to_owned());
    });
    let client = cluster::dial(&endpoint, Bearer { header, refused }).unwrap();
    for number in 1..=2 {
        let error = cluster::pods_on(&client, &node_name()).await.unwrap_err();
        assert_eq!(error.class(), Class::Denied, "{}", error.why());
        assert_eq!(asked.load(Ordering::SeqCst), number, "one token for each request");
    }
    cluster::pods_on(&client, &node_name()).await.unwrap();
    assert_eq!(*dropped.lock().unwrap(), ["Bearer token-1", "Bearer token-2"]);
    let heads: Vec<String> = (1..=3).map(|_| seen.recv().unwrap()).collect();
    assert!(heads[2].contains("bearer token-3\r\n"), "{heads:?}");
    assert!(seen.try_recv().is_err(), "nothing else was asked");
}

#[tokio::test]
async fn a_server_with_another_ca_is_a_tls_failure() {
    let (endpoint, _seen) = serve(1);
    let (other, _) = serve(1);
    let endpoint = Endpoint { ca_pem: other.ca_pem, ..endpoint };
    let client = cluster::dial(&endpoint, counting().0).unwrap();
    let error = cluster::pods_on(&client, &node_name()).await.unwrap_err();
    assert!(error.is_tls(), "{}", error.why());
    assert_eq!(error.class(), Class::Again, "once the CA was looked up again");
    assert!(error.why().contains("certificate"), "{}", error.why());
}

#[tokio::test]
async fn a_port_that_nobody_listens_on_is_no_tls_failure() {
    let (endpoint, _seen) = serve(1);
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", closed.local_addr().unwrap());
    drop(closed);
    let client = cluster::dial(&Endpoint { url, ..endpoint }, counting().0).unwrap();
    let error = cluster::pods_on(&client, &node_name()).await.unwrap_err();
    assert_eq!((error.class(), error.is_tls()), (Class::Again, false), "{}", error.why());
}

#[tokio::test]
async fn without_a_token_nothing_is_sent() {
    let (endpoint, seen) = serve(1);
    let header = Arc::new(|| Err("no credentials".into()));
    let bearer = Bearer { header, refused: Arc::new(|_| {}) };
    let client = cluster::dial(&endpoint, bearer).unwrap();
    let error = cluster::pods_on(&client, &node_name()).await.unwrap_err();
    assert_eq!(error.class(), Class::Denied);
    assert_eq!(
        error.why(),
        "list pods on ip-10-0-3-41.ec2.internal: make bearer token: no credentials"
    );
    assert!(seen.try_recv().is_err());
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_dialled_says_what_is_expected() {
    let (good, _seen) = serve(1);
    let check = |url: &str, ca_pem: &[u8], why: &str| {
        let endpoint = Endpoint { url: url.to_owned(), ca_pem: ca_pem.to_vec() };
        let error = cluster::dial(&endpoint, counting().0).err().unwrap();
        assert_eq!(error.class(), Class::Final, "{url}");
        assert!(error.why().contains(why), "{url}: {}", error.why());
    };
    check("http://a.b", &good.ca_pem, "`http://a.b`: expected https:// and a host");
    check("https://a.b/path", &good.ca_pem, "expected https:// and a host");
    check("a b", &good.ca_pem, "connect to a b: ");
    check("https://a.b", b"", "no certificate in the cluster's CA data");
    check("https://a.b", b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", "");
}
