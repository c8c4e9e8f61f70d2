//! EC2: the signed form, XML with several reservations, errors in EC2's own words.

use crate::fake::{Answer, Wire, instance};
use cloud::clients::Endpoints;
use cloud::ec2::instances;
use decision::snapshot::aws::{Instance, InstanceState};
use decision::step::Class;
use decision::time::Timestamp;
use std::collections::BTreeMap;

const XMLNS: &str = "xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"";

fn page(reservations: &str, next: &str) -> Answer {
    Answer::Of(
        200,
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<DescribeInstancesResponse {XMLNS}>\n\
             <requestId>8f7724cf-496f-496e-8fe3-example</requestId>\n\
             <reservationSet>{reservations}</reservationSet>{next}</DescribeInstancesResponse>"
        ),
    )
}

fn reservation(instances: &str) -> String {
    format!(
        "<item><reservationId>r-1234567890abcdef0</reservationId><ownerId>123456789012</ownerId>\
         <groupSet/><instancesSet>{instances}</instancesSet></item>"
    )
}

fn described(id: &str, state: &str, more: &str) -> String {
    format!(
        "<item>\n  <instanceId>{id}</instanceId>\n  <imageId>ami-1</imageId>\n  <instanceState>\
         <code>16</code><name>{state}</name></instanceState>\n  {more}\n  <placement>\
         <availabilityZone>eu-central-1a</availabilityZone></placement>\n</item>"
    )
}

fn error(status: u16, code: &str, message: &str) -> Answer {
    Answer::Of(
        status,
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>{code}</Code>\
             <Message>{message}</Message></Error></Errors><RequestID>1</RequestID></Response>"
        ),
    )
}

#[tokio::test(start_paused = true)]
async fn instances_of_several_reservations_are_read() {
    let full = "<privateDnsName>ip-10-0-1-7.eu-central-1.compute.internal</privateDnsName>\
                <launchTime>2026-11-22T09:00:00.000Z</launchTime><tagSet>\
                <item><key>Name</key><value>web &lt;1&gt;</value></item>\
                <item><key>eks:cluster-name</key><value/></item></tagSet>";
    let first = described("i-0aaa1111bbb22222c", "running", full)
        + &described("i-0bbb1111bbb22222c", "shutting-down", "<privateDnsName/><tagSet/>");
    let second =
        described("i-0ccc1111bbb22222c", "terminated", "<privateDnsName></privateDnsName>");
    let wire = Wire::answering([page(&(reservation(&first) + &reservation(&second)), "")]);
    let ids = ["i-0aaa1111bbb22222c", "i-0bbb1111bbb22222c", "i-0ccc1111bbb22222c"].map(instance);

    let found = instances(&wire.clients().ec2, &ids).await.unwrap();
    let bare = |id: usize, state| Instance {
        id: ids[id].clone(),
        state,
        private_dns: None,
        tags: BTreeMap::new(),
        launched_at: None,
    };
    let tags = [("Name", "web <1>"), ("eks:cluster-name", "")];
    let expected = [
        Instance {
            private_dns: Some("ip-10-0-1-7.eu-central-1.compute.internal".to_owned()),
            tags: tags.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            launched_at: Some(Timestamp::parse_rfc3339("2026-11-22T09:00:00Z").unwrap()),
            ..bare(0, InstanceState::Running)
        },
        bare(1, InstanceState::ShuttingDown),
        bare(2, InstanceState::Terminated),
    ];
    assert_eq!(found.into_values().collect::<Vec<_>>(), expected);
    assert_eq!(wire.sent().len(), 1);
}

/// The signature was computed with botocore's SigV4Auth for the same request, key and time.
#[tokio::test(start_paused = true)]
async fn the_form_filters_by_id_and_is_signed() {
    let wire = Wire::answering([page("", "")]);
    let found = instances(&wire.clients().ec2, &[instance("i-0aaa1111bbb22222c")]).await.unwrap();
    assert_eq!(found, BTreeMap::new());
    let [sent] = &wire.sent()[..] else { panic!("one request") };
    assert_eq!(sent.url, "https://ec2.eu-central-1.amazonaws.com/");
    assert_eq!(
        sent.body,
        "Action=DescribeInstances&Version=2016-11-15&Filter.1.Name=instance-id\
         &Filter.1.Value.1=i-0aaa1111bbb22222c&MaxResults=1000"
    );
    assert_eq!(sent.header("x-amz-date"), Some("20261122T093000Z"));
    assert_eq!(sent.header("x-amz-security-token"), Some("IQoJb3JpZ2luX2VjE+/=token"));
    assert_eq!(
        sent.header("content-type"),
        Some("application/x-www-form-urlencoded; charset=utf-8")
    );
    assert_eq!(
        sent.header("authorization"),
        Some(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261122/eu-central-1/ec2/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, \
             Signature=21a63c42233a13d99fc69ca98a87c83d0c998d9e779016fb521c299d7ba759a9"
        )
    );
}

#[tokio::test(start_paused = true)]
async fn the_endpoint_is_the_partitions_or_the_one_given() {
    let given = |url: &str| Endpoints { ec2: Some(url.to_owned()), ..Endpoints::default() };
    let rows = [
        ("cn-north-1", Endpoints::default(), "https://ec2.cn-north-1.amazonaws.com.cn/"),
        ("us-gov-west-1", Endpoints::default(), "https://ec2.us-gov-west-1.amazonaws.com/"),
        ("eu-central-1", given("http://127.0.0.1:4566"), "http://127.0.0.1:4566/"),
        ("eu-central-1", given("http://127.0.0.1:4566/"), "http://127.0.0.1:4566/"),
        ("eu-central-1", given("http://127.0.0.1/ec2/"), "http://127.0.0.1/ec2/"),
    ];
    for (region, endpoints, url) in rows {
        let wire = Wire::answering([page("", "")]);
        let ec2 = wire.clients_in(region, endpoints).ec2;
        instances(&ec2, &[instance("i-0aaa1111bbb22222c")]).await.unwrap();
        assert_eq!(wire.sent()[0].url, url);
    }
}

#[tokio::test(start_paused = true)]
async fn two_hundred_ids_go_into_one_filter_and_pages_are_followed() {
    let one = described("i-0aaa1111bbb22222c", "pending", "");
    let wire = Wire::answering([
        page("", "<nextToken>a+b=</nextToken>"),
        page(&reservation(&one), "<nextToken/>"),
        page("", ""),
    ]);
    let ids: Vec<_> = (0..201).map(|n| instance(&format!("i-0aaa1111bbb22{n:04}"))).collect();
    let found = instances(&wire.clients().ec2, &ids).await.unwrap();
    assert_eq!(found.len(), 1);
    let bodies = wire.bodies();
    let counts: Vec<usize> =
        bodies.iter().map(|body| body.matches("Filter.1.Value.").count()).collect();
    assert_eq!(counts, [200, 200, 1]);
    assert!(bodies[1].ends_with("&NextToken=a%2Bb%3D"), "{}", bodies[1]);
    assert!(!bodies[2].contains("NextToken"));
}

#[tokio::test(start_paused = true)]
async fn a_list_goes_on_for_ten_pages_at_most() {
    let endless = || page("", "<nextToken>again</nextToken>");
    let wire = Wire::answering(std::array::from_fn::<_, 10, _>(|_| endless()));
    let error = instances(&wire.clients().ec2, &[instance("i-0aaa1111bbb22222c")]).await;
    let why = "describe instances i-0aaa1111bbb22222c: the list has more than 10 pages";
    assert_eq!(error.unwrap_err().why(), why);
    assert_eq!(wire.sent().len(), 10);
}

#[tokio::test(start_paused = true)]
async fn refusals_have_ec2s_own_code_and_message() {
    let rows = [
        (503, "RequestLimitExceeded", "Request limit exceeded.", Class::Throttled(None)),
        (403, "UnauthorizedOperation", "You are not authorized", Class::Denied),
        (401, "AuthFailure", "AWS was not able to validate", Class::Denied),
        (400, "RequestExpired", "Request has expired.", Class::Denied),
        (400, "InvalidInstanceID.NotFound", "The instance ID does not exist", Class::Gone),
        (500, "InternalError", "An internal error has occurred", Class::Again),
        (400, "InvalidParameterValue", "Invalid value", Class::Final),
    ];
    for (status, code, message, class) in rows {
        let wire = Wire::answering([error(status, code, message)]);
        let ids = [instance("i-0aaa1111bbb22222c")];
        let error = instances(&wire.clients().ec2, &ids).await.unwrap_err();
        assert_eq!(error.class(), class, "{code}");
        let why =
            format!("describe instances i-0aaa1111bbb22222c: {code}: {message} (HTTP {status})");
        assert_eq!(error.why(), why);
        assert_eq!(wire.sent().len(), 1, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_cannot_be_understood_is_an_error() {
    let ids = [instance("i-0aaa1111bbb22222c")];
    let asleep = reservation(&described("i-0aaa1111bbb22222c", "asleep", ""));
    let undated =
        reservation(&described("i-0aaa1111bbb22222c", "running", "<launchTime>now</launchTime>"));
    let rows = [
        (Answer::Of(200, "not XML".to_owned()), "the answer does not parse", Class::Final),
        (Answer::Of(200, String::new()), "the answer does not parse", Class::Final),
        (page(&asleep, ""), "unknown instance state `asleep`", Class::Final),
        (page(&undated, ""), "unknown launchTime `now`", Class::Final),
        (page(&reservation(&described("x", "running", "")), ""), "instance id `x`", Class::Final),
        (Answer::Of(502, "<html>Bad Gateway</html>".to_owned()), "HTTP 502", Class::Again),
    ];
    for (answer, words, class) in rows {
        let wire = Wire::answering([answer]);
        let error = instances(&wire.clients().ec2, &ids).await.unwrap_err();
        assert!(error.why().contains(words), "{}", error.why());
        assert_eq!(error.class(), class, "{words}");
    }
}
