//! What holds for every client: one attempt, a timeout on tokio's clock, endpoints as given.

use crate::events::begun;
use crate::fake::{Answer, Wire, asg, group, instance};
use cloud::clients::{ATTEMPT_TIMEOUT, Endpoints, OPERATION_TIMEOUT, http_client};
use cloud::{Clients, CloudError, autoscaling, ec2, eks, elbv2, events, sqs};
use decision::id::ClusterName;
use decision::step::Class;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::time::Duration;
use tokio::time::Instant;

const QUEUE: &str = "https://sqs.eu-central-1.amazonaws.com/123456789012/ebbtide";

/// Makes one call of each service, each of which is to fail.
async fn failures(clients: &Clients) -> [(&'static str, CloudError, Duration); 6] {
    async fn timed<T: std::fmt::Debug>(
        name: &'static str,
        call: impl Future<Output = Result<T, CloudError>>,
    ) -> (&'static str, CloudError, Duration) {
        let begun = Instant::now();
        let error = call.await.unwrap_err();
        (name, error, begun.elapsed())
    }
    let (ids, cluster) = ([instance("i-0aaa1111bbb22222c")], ClusterName::parse("prod").unwrap());
    [
        timed("autoscaling", autoscaling::hooks(&clients.autoscaling, &asg("web"))).await,
        timed("elbv2", elbv2::health(&clients.elbv2, &group("web"))).await,
        timed("eks", eks::cluster(&clients.eks, &cluster)).await,
        timed("sqs", sqs::dead_letter(&clients.sqs, QUEUE, "{}", "why")).await,
        timed("ec2", ec2::instances(&clients.ec2, &ids)).await,
        timed("events", events::put(&clients.events, "default", &[begun()])).await,
    ]
}

#[tokio::test(start_paused = true)]
async fn a_silent_service_ends_by_the_timeout_and_is_asked_once() {
    let wire = Wire::answering(std::array::from_fn::<_, 6, _>(|_| Answer::Silence));
    for (name, error, took) in failures(&wire.clients()).await {
        assert!(matches!(error, CloudError::Unanswered { .. }), "{name}: {error:?}");
        assert_eq!(error.class(), Class::Again, "{name}");
        assert!(error.why().contains("timeout"), "{name}: {}", error.why());
        assert!((ATTEMPT_TIMEOUT..OPERATION_TIMEOUT).contains(&took), "{name}: {took:?}");
    }
    assert_eq!(wire.sent().len(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_broken_connection_is_worth_another_try_but_not_ours() {
    let wire = Wire::answering(std::array::from_fn::<_, 6, _>(|_| Answer::Broken));
    for (name, error, _) in failures(&wire.clients()).await {
        assert!(matches!(error, CloudError::Unanswered { .. }), "{name}: {error:?}");
        assert_eq!(error.class(), Class::Again, "{name}");
        assert!(error.why().contains("connection reset by peer"), "{name}: {}", error.why());
    }
    assert_eq!(wire.sent().len(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_page_of_something_in_between_goes_by_its_status() {
    let page = "<html><body>Bad Gateway</body></html>";
    let rows = [(502, Class::Again), (429, Class::Throttled(None)), (403, Class::Denied)];
    for (status, class) in rows {
        let answer = || Answer::Of(status, page.to_owned());
        let wire = Wire::answering(std::array::from_fn::<_, 6, _>(|_| answer()));
        for (name, error, _) in failures(&wire.clients()).await {
            assert_eq!(error.class(), class, "{name}: {}", error.why());
        }
        assert_eq!(wire.sent().len(), 6);
    }
}

#[tokio::test(start_paused = true)]
async fn a_throttle_keeps_the_services_own_delay() {
    let answer = || Answer::With(429, ("retry-after", "7"), String::new());
    let wire = Wire::answering(std::array::from_fn::<_, 6, _>(|_| answer()));
    for (name, error, _) in failures(&wire.clients()).await {
        let expected = Class::Throttled(Some(Duration::from_secs(7)));
        assert_eq!(error.class(), expected, "{name}: {}", error.why());
    }
    assert_eq!(wire.sent().len(), 6);
}

#[tokio::test(start_paused = true)]
async fn every_service_goes_to_the_endpoint_that_is_given() {
    let wire = Wire::answering(std::array::from_fn::<_, 6, _>(|_| Answer::Broken));
    let clients = wire.clients_in("eu-central-1", Endpoints::all("http://127.0.0.1:4566"));
    assert_eq!(failures(&clients).await.len(), 6);
    for sent in wire.sent() {
        assert!(sent.url.starts_with("http://127.0.0.1:4566/"), "{}", sent.url);
        assert!(sent.header("authorization").unwrap().contains("AKIDEXAMPLE/20261122/"));
    }
}

/// The stack of production against a socket on loopback, which refuses both and closes.
#[tokio::test]
async fn the_http_client_of_production_speaks_to_a_real_socket() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = [0; 64];
            assert!(stream.read(&mut head).unwrap() > 0);
            assert!(head.starts_with(b"POST / HTTP/1.1\r\n"));
            let answer =
                "HTTP/1.1 418 I'm a teapot\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(answer.as_bytes()).unwrap();
            // Read to the end, so that closing does not reset what was just answered.
            stream.shutdown(Shutdown::Write).unwrap();
            stream.read_to_end(&mut Vec::new()).unwrap();
        }
    });
    let mut settings = Wire::answering([]).settings("eu-central-1", Endpoints::all(&url));
    settings.http = http_client();
    let clients = Clients::new(&settings);
    let error = autoscaling::hooks(&clients.autoscaling, &asg("web")).await.unwrap_err();
    assert_eq!(error.why(), "describe lifecycle hooks of web: HTTP 418");
    let error = ec2::instances(&clients.ec2, &[instance("i-0aaa1111bbb22222c")]).await.unwrap_err();
    assert_eq!(error.why(), "describe instances i-0aaa1111bbb22222c: HTTP 418");
    server.join().unwrap();
}
