//! A watch wakes at the first event and never earlier, on tokio's paused clock.

use crate::fake::node_name;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use kube::client::Body;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const EVENT: &str = r#"{"type":"MODIFIED","object":{"kind":"Pod","metadata":{"name":"p"}}}"#;
const BOOKMARK: &str =
    r#"{"type":"BOOKMARK","object":{"kind":"Pod","metadata":{"resourceVersion":"9"}}}"#;
const EXPIRED: &str =
    r#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}"#;

/// What a stream does at its end.
#[derive(Clone, Copy)]
enum End {
    Stay,
    Close,
    Break,
}

/// Chunks of a stream, each after so many milliseconds of silence.
#[derive(Clone)]
struct Script {
    code: u16,
    chunks: Vec<(u64, String)>,
    end: End,
}

fn script(chunks: &[(u64, &str)], end: End) -> Script {
    let chunks = chunks.iter().map(|(ms, text)| (*ms, (*text).to_owned())).collect();
    Script { code: 200, chunks, end }
}

/// Waits 12.5 s at most; returns how long it took and what was asked.
async fn watch(script: Script, version: Option<&str>) -> (Duration, Vec<String>) {
    let log = Arc::new(Mutex::new(Vec::new()));
    let requests = log.clone();
    let client = cluster::wrap(tower::service_fn(move |request: Request<Body>| {
        let uri = request.uri().to_string();
        let streams = uri.contains("watch=true");
        requests.lock().unwrap().push(uri);
        let Script { code, chunks, end } = script.clone();
        let chunks = if streams {
            chunks
        } else {
            vec![(0, r#"{"metadata":{"resourceVersion":"4711"},"items":[{"x":1}]}"#.to_owned())]
        };
        let end = if streams { end } else { End::Close };
        let said = stream::iter(chunks).then(|(ms, text)| async move {
            sleep(Duration::from_millis(ms)).await;
            Ok(Frame::data(Bytes::from(text)))
        });
        let last = stream::once(async move {
            match end {
                End::Stay => std::future::pending().await,
                End::Close => Ok(Frame::data(Bytes::new())),
                End::Break => Err(std::io::Error::other("connection reset")),
            }
        });
        let body = StreamBody::new(said.chain(last).boxed());
        let response = Response::builder().status(code).body(body).unwrap();
        async move { Ok::<_, Infallible>(response) }
    }));
    let started = Instant::now();
    cluster::pods_changed(&client, &node_name(), version, Duration::from_millis(12_500)).await;
    let requests = log.lock().unwrap().clone();
    (started.elapsed(), requests)
}

#[tokio::test(start_paused = true)]
async fn when_a_watch_wakes() {
    struct Case {
        name: &'static str,
        script: Script,
        wakes_after_ms: u64,
    }
    let case = |name, script, wakes_after_ms| Case { name, script, wakes_after_ms };
    let line = |text: &str| format!("{text}\n");
    let (half, rest) = EVENT.split_at(20);
    let (event, bookmark, expired) = (line(EVENT), line(BOOKMARK), line(EXPIRED));
    let denied = Script { code: 403, ..script(&[(1, "{}")], End::Close) };
    let two = format!("{bookmark}{event}");
    let cases = [
        case("an event", script(&[(700, &event)], End::Stay), 700),
        case(
            "an event past the limit of other requests",
            script(&[(9_000, &event)], End::Stay),
            9_000,
        ),
        case("an event in two parts", script(&[(100, half), (200, &line(rest))], End::Stay), 300),
        case(
            "a bookmark, then an event",
            script(&[(100, &bookmark), (200, &event)], End::Stay),
            300,
        ),
        case("both at once", script(&[(100, &two)], End::Stay), 100),
        case("only a bookmark", script(&[(100, &bookmark)], End::Stay), 12_500),
        case("nothing", script(&[], End::Stay), 12_500),
        case("an expired version", script(&[(100, &expired)], End::Close), 12_500),
        case("the server closes", script(&[], End::Close), 12_500),
        case("the connection breaks", script(&[], End::Break), 12_500),
        case("no right to watch", denied, 12_500),
    ];
    for Case { name, script, wakes_after_ms } in cases {
        let (took, requests) = watch(script, Some("77")).await;
        let late = took.saturating_sub(Duration::from_millis(wakes_after_ms));
        assert!(took >= Duration::from_millis(wakes_after_ms), "{name}: too early, {took:?}");
        assert!(late <= Duration::from_millis(4), "{name}: too late, {took:?}");
        assert_eq!(
            requests,
            ["/api/v1/pods?fieldSelector=spec.nodeName%3Dip-10-0-3-41.ec2.internal\
              &watch=true&resourceVersion=77&timeoutSeconds=13"],
            "{name}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_version_it_starts_from_now() {
    let event = format!("{EVENT}\n");
    let (took, requests) = watch(script(&[(700, &event)], End::Stay), None).await;
    assert!(took < Duration::from_millis(710), "{took:?}");
    assert_eq!(
        requests,
        [
            "/api/v1/pods?fieldSelector=spec.nodeName%3Dip-10-0-3-41.ec2.internal&limit=1",
            "/api/v1/pods?fieldSelector=spec.nodeName%3Dip-10-0-3-41.ec2.internal\
             &watch=true&resourceVersion=4711&timeoutSeconds=13",
        ]
    );
}
