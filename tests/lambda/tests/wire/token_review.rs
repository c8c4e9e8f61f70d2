//! The TokenReview webhook takes the tokens that the functions make, and no others.

use crate::aws::{SESSION_TOKEN, token, token_of};
use sandbox::Sandbox;
use sandbox::aws::eks::Eks;
use sandbox::aws::sts::Sts;
use sandbox::serve::{Server, real_time};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;

const KEY: (&str, &str) = ("ASIAEBBTIDE000000001", "a-secret");
const STRANGER: (&str, &str) = ("ASIAEBBTIDE000000002", "another-secret");

fn place() -> (Sandbox, Server) {
    let sandbox = real_time(1);
    {
        let world = &mut *sandbox.world();
        for cluster in ["demo", "other"] {
            Eks::add(world, cluster, "https://127.0.0.1:9", "");
        }
        Sts::add_session(world, (KEY.0, KEY.1, SESSION_TOKEN), "ebbtide", 1);
        Sts::add_session(world, (STRANGER.0, STRANGER.1, SESSION_TOKEN), "stranger", 2);
        Eks::add_access_entry(world, "demo", "ebbtide", &["ebbtide:base", "ebbtide:force"]);
        Eks::add_access_entry(world, "other", "ebbtide", &["other"]);
    }
    let server = Server::start(&sandbox).unwrap();
    (sandbox, server)
}

/// What the webhook says of a token.
fn review(server: &Server, cluster: &str, token: &str) -> Value {
    let body = json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": { "token": token },
    });
    let body = body.to_string();
    let url = server.token_review_url(cluster);
    let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    let head = format!(
        "POST /{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
    let review: Value = serde_json::from_str(body).unwrap();
    assert_eq!(review["apiVersion"], "authentication.k8s.io/v1");
    assert!(!body.contains(token), "the token stays out of the answer");
    review["status"].clone()
}

#[test]
fn a_token_of_the_functions_is_taken() {
    let (sandbox, server) = place();
    let status = review(&server, "demo", &token("demo", 0, KEY));
    assert_eq!(status["authenticated"], true, "{status}");
    let user = &status["user"];
    let arn = "arn:aws:sts::123456789012:assumed-role/ebbtide/ebbtide";
    assert_eq!(user["username"], arn);
    assert_eq!(user["groups"], json!(["ebbtide:base", "ebbtide:force"]));
    assert_eq!(user["extra"]["arn"], json!([arn]));
    assert_eq!(user["extra"]["canonicalArn"], json!(["arn:aws:iam::123456789012:role/ebbtide"]));
    assert_eq!(user["extra"]["accessKeyId"], json!([KEY.0]));
    let calls = sandbox.world().calls.clone();
    let calls: Vec<&str> = calls.iter().map(|call| call.operation.as_str()).collect();
    assert_eq!(calls, ["POST tokenreviews"]);
}

#[test]
fn other_tokens_are_refused_with_the_reason() {
    let (_sandbox, server) = place();
    let changed = |token: &str| token.replace("k8s-aws-v1.", "k8s-aws-v2.");
    let rows = [
        ("for another cluster", token("other", 0, KEY), "Mismatch"),
        (
            "sixteen minutes old",
            token("demo", 960, KEY),
            "X-Amz-Date parameter is expired (15 minute",
        ),
        ("another secret", token("demo", 0, (KEY.0, "guessed")), "Mismatch"),
        ("another session", token_of("demo", 0, KEY, "another-session"), "UnknownKey"),
        ("an unknown key", token("demo", 0, ("ASIANOBODY", "guessed")), "UnknownKey"),
        (
            "a role without an entry",
            token("demo", 0, STRANGER),
            "no access entry for arn:aws:iam::123456789012:role/stranger",
        ),
        ("another version", changed(&token("demo", 0, KEY)), "prefix"),
        ("no token", "k8s-aws-v1.aGVsbG8".to_owned(), "unexpected scheme"),
        ("too long", format!("k8s-aws-v1.{}", "a".repeat(4_096)), "too large"),
        (
            "another host",
            wrapped("https://sts.example.com/?Action=GetCallerIdentity"),
            "unexpected hostname",
        ),
        (
            "another action",
            wrapped("https://sts.eu-central-1.amazonaws.com/?Action=AssumeRole"),
            "unexpected action",
        ),
        (
            "twice",
            wrapped("https://sts.eu-central-1.amazonaws.com/?Action=GetCallerIdentity&action=x"),
            "more than once",
        ),
        (
            "another parameter",
            wrapped("https://sts.eu-central-1.amazonaws.com/?Role=x"),
            "non-whitelisted",
        ),
        (
            "the cluster's name is not signed",
            wrapped(
                "https://sts.eu-central-1.amazonaws.com/?Action=GetCallerIdentity&X-Amz-SignedHeaders=host",
            ),
            "did not sign the x-k8s-aws-id header",
        ),
    ];
    for (name, token, why) in rows {
        let status = review(&server, "demo", &token);
        assert_eq!(status["authenticated"], false, "{name}: {status}");
        assert!(status.get("user").is_none(), "{name}: {status}");
        assert!(status["error"].as_str().unwrap().contains(why), "{name}: {status}");
    }
}

#[test]
fn the_same_token_is_taken_until_it_is_too_old() {
    let (sandbox, server) = place();
    let token = token("demo", 100, KEY);
    assert_eq!(review(&server, "demo", &token)["authenticated"], true);
    sandbox.world().aws.sts.token_valid_ms = 60_000;
    let status = review(&server, "demo", &token);
    assert_eq!(status["authenticated"], false, "{status}");
    assert!(status["error"].as_str().unwrap().contains("(1 minute expiration)"), "{status}");
}

#[test]
fn without_a_name_the_only_cluster_is_meant() {
    let (sandbox, server) = place();
    let token = token("demo", 0, KEY);
    assert_eq!(review(&server, "", &token)["authenticated"], false, "there are two");
    sandbox.world().aws.eks.clusters.remove("other");
    assert_eq!(review(&server, "", &token)["authenticated"], true);
}

/// A token around any URL, in base64 without padding.
fn wrapped(url: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut encoded = String::new();
    for chunk in url.as_bytes().chunks(3) {
        let mut bits = 0_u32;
        for index in 0..3 {
            bits = bits << 8 | chunk.get(index).copied().map_or(0, u32::from);
        }
        for index in 0..=chunk.len() {
            let digit = bits >> (18 - 6 * index) & 0x3f;
            encoded.push(char::from(DIGITS[usize::try_from(digit).unwrap()]));
        }
    }
    format!("k8s-aws-v1.{encoded}")
}
