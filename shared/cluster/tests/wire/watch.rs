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

/// The longest wait of each watch here.
const LONGEST: Duration = Duration::from_millis(12_500);

type Log = Arc<Mutex<Vec<String>>>;

/// A client of a server that keeps to the script, and what it was asked.
fn client(script: Script) -> (kube::Client, Log) {
    let log = Log::default();
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
    (client, log)
}

/// Watches a node's pods; returns how long it took and what was asked.
async fn watch(script: Script, version: Option<&str>) -> (Duration, Vec<String>) {
    let (client, log) = client(script);
    let started = Instant::now();
    cluster::pods_changed(&client, &node_name(), version, LONGEST).await.unwrap();
    let requests = log.lock().unwrap().clone();
    (started.elapsed(), requests)
}

/// The same for these budgets of the namespace `shop`.
async fn watch_budgets(script: Script, names: &[&str]) -> (Duration, Vec<String>) {
    let (client, log) = client(script);
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    let started = Instant::now();
    cluster::budget_opened(&client, "shop", &names, LONGEST).await.unwrap();
    let requests = log.lock().unwrap().clone();
    (started.elapsed(), requests)
}

#[track_caller]
fn check_took(name: &str, took: Duration, wakes_after_ms: u64) {
    let late = took.saturating_sub(Duration::from_millis(wakes_after_ms));
    assert!(took >= Duration::from_millis(wakes_after_ms), "{name}: too early, {took:?}");
    assert!(late <= Duration::from_millis(4), "{name}: too late, {took:?}");
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
    let busy = Script { code: 503, ..script(&[(1, "{}")], End::Close) };
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
        case("the server is busy", busy, 12_500),
    ];
    for Case { name, script, wakes_after_ms } in cases {
        let (took, requests) = watch(script, Some("77")).await;
        check_took(name, took, wakes_after_ms);
        assert_eq!(
            requests,
            ["/api/v1/pods?fieldSelector=spec.nodeName%3Dip-10-0-3-41.ec2.internal\
              &resourceVersion=77&watch=true&timeoutSeconds=13"],
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
             &resourceVersion=4711&watch=true&timeoutSeconds=13",
        ]
    );
}

/// A line about a budget as the server writes it.
fn counted(kind: &str, name: &str, allowed: i32) -> String {
    format!(
        r#"{{"type":"{kind}","object":{{"kind":"PodDisruptionBudget","metadata":{{"namespace":"shop","name":"{name}"}},"spec":{{"minAvailable":1}},"status":{{"disruptionsAllowed":{allowed},"currentHealthy":2}}}}}}"#
    ) + "\n"
}

#[tokio::test(start_paused = true)]
async fn when_a_budget_wakes() {
    let opens = counted("MODIFIED", "web", 1);
    let (closed, counts) = (counted("ADDED", "web", 0), counted("MODIFIED", "web", 0));
    let (open, gone) = (counted("ADDED", "web", 1), counted("DELETED", "web", 0));
    let (other, fresh) = (counted("MODIFIED", "api", 1), uncounted());
    let expired = format!("{EXPIRED}\n");
    let busy = Script { code: 503, ..script(&[(1, "{}")], End::Close) };
    let cases = [
        ("it opens", script(&[(0, &closed), (700, &opens)], End::Stay), 700),
        ("it opened before the watch began", script(&[(5, &open)], End::Stay), 5),
        ("it is deleted", script(&[(0, &closed), (700, &gone)], End::Stay), 700),
        ("it still allows none", script(&[(0, &closed), (700, &counts)], End::Stay), 12_500),
        ("then it does", script(&[(0, &closed), (700, &counts), (200, &opens)], End::Stay), 900),
        ("it was not counted yet", script(&[(0, &fresh)], End::Stay), 12_500),
        ("another one opens", script(&[(0, &closed), (700, &other)], End::Stay), 12_500),
        ("an expired version", script(&[(100, &expired)], End::Close), 12_500),
        ("the server closes", script(&[(0, &closed)], End::Close), 12_500),
        ("the server is busy", busy, 12_500),
    ];
    for (name, script, wakes_after_ms) in cases {
        let (took, requests) = watch_budgets(script, &["web"]).await;
        check_took(name, took, wakes_after_ms);
        assert_eq!(
            requests,
            ["/apis/policy/v1/namespaces/shop/poddisruptionbudgets\
              ?fieldSelector=metadata.name%3Dweb&watch=true&timeoutSeconds=13"],
            "{name}"
        );
    }
}

/// A budget that its controller has not seen yet.
fn uncounted() -> String {
    let line = r#"{"type":"ADDED","object":{"metadata":{"namespace":"shop","name":"web"}}}"#;
    format!("{line}\n")
}

#[tokio::test(start_paused = true)]
async fn several_budgets_of_a_namespace_are_one_watch() {
    let (closed, other) = (counted("ADDED", "web", 0), counted("MODIFIED", "batch", 3));
    let opens = counted("MODIFIED", "api", 1);
    let said = script(&[(0, &closed), (300, &other), (400, &opens)], End::Stay);
    let (took, requests) = watch_budgets(said, &["api", "web"]).await;
    check_took("the one that is waited for", took, 700);
    assert_eq!(
        requests,
        ["/apis/policy/v1/namespaces/shop/poddisruptionbudgets?watch=true&timeoutSeconds=13"]
    );
}

/// What a server says that does not let us watch this.
fn forbidden(resource: &str) -> Script {
    let said = format!(
        r#"{{"kind":"Status","status":"Failure","reason":"Forbidden","code":403,"message":"{resource} is forbidden: User \"ebbtide\" cannot watch resource \"{resource}\" in API group \"\" at the cluster scope"}}"#
    );
    Script { code: 403, ..script(&[(1, &said)], End::Close) }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_denied_says_so_at_once() {
    let started = Instant::now();
    let (pods, _) = client(forbidden("pods"));
    let pods = cluster::pods_changed(&pods, &node_name(), Some("77"), LONGEST).await;
    let (budgets, _) = client(forbidden("poddisruptionbudgets"));
    let names = ["web".to_owned()].into();
    let budgets = cluster::budget_opened(&budgets, "shop", &names, LONGEST).await;
    for (denied, operation, resource) in [
        (pods, "watch pods on ip-10-0-3-41.ec2.internal", "pods"),
        (budgets, "watch pod disruption budgets of shop", "poddisruptionbudgets"),
    ] {
        let why = denied.unwrap_err().why();
        assert!(why.starts_with(&format!("{operation}: 403 Forbidden: ")), "{why}");
        assert!(why.contains(&format!("cannot watch resource \"{resource}\"")), "{why}");
    }
    assert!(started.elapsed() < Duration::from_millis(10), "{:?}", started.elapsed());
}
