//! Nothing lasts for ever: pages, answers and requests have their bounds, on tokio's paused clock.

use crate::fake::{Fake, list, node_name, page, removal};
use bytes::Bytes;
use decision::step::Class;
use futures_util::stream::{self, StreamExt};
use http::Response;
use http_body::Frame;
use http_body_util::{Full, StreamBody};
use std::convert::Infallible;
use std::time::Duration;
use tokio::time::{Instant, sleep};

const NEVER: Duration = Duration::from_secs(100_000);

fn pod(name: &str) -> String {
    format!(r#"{{"metadata":{{"name":"{name}","namespace":"a","uid":"{name}"}},"spec":{{}}}}"#)
}

#[tokio::test]
async fn three_pages_are_one_list() {
    let fake = Fake::answering(200, page(&[&pod("p1"), &pod("p2")], "t1"))
        .then(200, page(&[&pod("p3")], "t2"))
        .then(200, r#"{"metadata":{},"items":null}"#);
    let pods = cluster::pods_on(&fake.client(), &node_name()).await.unwrap();
    let names: Vec<_> = pods.iter().map(|pod| pod.key.name.as_str()).collect();
    assert_eq!(names, ["p1", "p2", "p3"]);
    let tails: Vec<_> = fake
        .requests()
        .iter()
        .map(|request| request.split_once("limit=250").unwrap().1.to_owned())
        .collect();
    assert_eq!(tails, ["", "&continue=t1", "&continue=t2"]);
}

#[tokio::test]
async fn forty_pages_are_read_and_no_more() {
    let pages = |count: usize| {
        (0..count).fold(Fake::default(), |fake, n| fake.then(200, page(&[], &format!("t{n}"))))
    };
    let enough = pages(39).then(200, list(&[]));
    assert_eq!(cluster::budgets(&enough.client()).await.unwrap(), []);
    assert_eq!(enough.requests().len(), 40);

    let endless = pages(40);
    let error = cluster::budgets(&endless.client()).await.unwrap_err();
    assert_eq!(error.class(), Class::Final);
    assert!(error.why().ends_with(": more than 40 pages"), "{}", error.why());
    assert_eq!(endless.requests().len(), 40);
}

#[tokio::test]
async fn a_page_that_fails_fails_the_list() {
    let fake = Fake::answering(200, page(&[&pod("p1")], "t1")).then(500, "");
    let error = cluster::pods_on(&fake.client(), &node_name()).await.unwrap_err();
    assert_eq!(error.class(), Class::Again);
}

/// A server that answers after one time, and is done with the body after another.
fn slow(head: Duration, body: Duration) -> kube::Client {
    cluster::wrap(tower::service_fn(move |_| async move {
        sleep(head).await;
        let rest = stream::once(async move {
            sleep(body).await;
            Ok::<_, Infallible>(Frame::data(Bytes::from(list(&[]))))
        });
        Ok::<_, Infallible>(Response::new(StreamBody::new(rest.boxed())))
    }))
}

#[tokio::test(start_paused = true)]
async fn head_and_body_share_five_seconds() {
    let second = Duration::from_secs(1);
    let almost = Duration::from_millis(999);
    struct Case {
        name: &'static str,
        head: Duration,
        body: Duration,
        in_time: bool,
    }
    let cases = [
        Case { name: "just in time", head: 4 * second, body: almost, in_time: true },
        Case { name: "late body", head: 4 * second, body: second + almost, in_time: false },
        Case { name: "no head", head: NEVER, body: second, in_time: false },
        Case { name: "no body", head: second, body: NEVER, in_time: false },
    ];
    for Case { name, head, body, in_time } in cases {
        let started = Instant::now();
        let answer = cluster::budgets(&slow(head, body)).await;
        if in_time {
            assert_eq!(answer.unwrap(), [], "{name}");
            continue;
        }
        let error = answer.unwrap_err();
        assert_eq!(error.class(), Class::Again, "{name}");
        assert!(error.why().ends_with(": no answer within 5 s"), "{name}: {}", error.why());
        // tokio's timers count whole milliseconds and fire after the instant.
        let late = started.elapsed() - 5 * second;
        assert!(late <= Duration::from_millis(2), "{name}: {late:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_eviction_may_take_as_long_as_the_server_tries() {
    let second = Duration::from_secs(1);
    cluster::evict(&slow(10 * second, second / 2), &removal()).await.unwrap();
    let started = Instant::now();
    let error = cluster::evict(&slow(NEVER, second), &removal()).await.unwrap_err();
    assert_eq!((error.class(), error.is_late()), (Class::Again, true), "{}", error.why());
    assert!(error.why().ends_with(": no answer within 11 s"), "{}", error.why());
    let late = started.elapsed() - 11 * second;
    assert!(late <= Duration::from_millis(2), "{late:?}");
}

#[tokio::test]
async fn an_answer_beyond_sixteen_mebibytes_is_not_read() {
    let mebibyte = Bytes::from(vec![b' '; 1 << 20]);
    let frames = stream::repeat_with(move || Ok::<_, Infallible>(Frame::data(mebibyte.clone())));
    let endless = std::sync::Mutex::new(Some(frames));
    let client = cluster::wrap(tower::service_fn(move |_| {
        let body = endless.lock().unwrap().take().unwrap();
        async move { Ok::<_, Infallible>(Response::new(StreamBody::new(body))) }
    }));
    let error = cluster::budgets(&client).await.unwrap_err();
    assert_eq!(error.class(), Class::Final);
    assert!(error.why().ends_with("answer of more than 16777216 bytes"), "{}", error.why());
}

#[tokio::test]
async fn a_broken_connection_is_worth_another_try() {
    let client = cluster::wrap(tower::service_fn(|_| async {
        Err::<Response<Full<Bytes>>, _>(std::io::Error::other("connection reset"))
    }));
    let error = cluster::budgets(&client).await.unwrap_err();
    assert_eq!((error.class(), error.is_tls()), (Class::Again, false));
    assert_eq!(error.why(), "list pod disruption budgets of all namespaces: connection reset");
}
