//! EC2: the signed forms, XML with several reservations and scheduled events, errors in EC2's own words.

use crate::fake::{Answer, Wire, instance};
use cloud::clients::Endpoints;
use cloud::ec2::{instances, reserved, scheduled};
use decision::id::ReservationId;
use decision::snapshot::aws::{Instance, InstanceState};
use decision::step::Class;
use decision::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

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

fn reservation_id() -> ReservationId {
    ReservationId::parse("cr-0a1b2c3d4e5f60718").unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_reservations_instances_are_found_by_filter_on_all_pages() {
    let first = described("i-0aaa1111bbb22222c", "running", "");
    let second = described("i-0bbb1111bbb22222c", "shutting-down", "");
    let wire = Wire::answering([
        page(&reservation(&first), "<nextToken>a+b=</nextToken>"),
        page(&reservation(&second), ""),
    ]);
    let found = reserved(&wire.clients().ec2, &reservation_id()).await.unwrap();
    let found: Vec<_> = found.iter().map(|found| (found.id.as_str(), found.state)).collect();
    let expected = [
        ("i-0aaa1111bbb22222c", InstanceState::Running),
        ("i-0bbb1111bbb22222c", InstanceState::ShuttingDown),
    ];
    assert_eq!(found, expected);
    let form = "Action=DescribeInstances&Version=2016-11-15&Filter.1.Name=capacity-reservation-id\
                &Filter.1.Value.1=cr-0a1b2c3d4e5f60718&MaxResults=1000";
    assert_eq!(wire.bodies(), [form.to_owned(), format!("{form}&NextToken=a%2Bb%3D")]);
}

#[tokio::test(start_paused = true)]
async fn a_reservation_that_nobody_runs_in_has_no_instances() {
    let wire = Wire::answering([page("", "")]);
    assert_eq!(reserved(&wire.clients().ec2, &reservation_id()).await.unwrap(), []);
    assert_eq!(wire.sent().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_reservations_list_ends_too_and_its_errors_name_it() {
    let throttled = error(503, "RequestLimitExceeded", "Request limit exceeded.");
    let wire = Wire::answering([throttled]);
    let error = reserved(&wire.clients().ec2, &reservation_id()).await.unwrap_err();
    assert_eq!(error.class(), Class::Throttled(None));
    let why = "describe instances of cr-0a1b2c3d4e5f60718: RequestLimitExceeded: \
               Request limit exceeded. (HTTP 503)";
    assert_eq!(error.why(), why);
    assert_eq!(wire.sent().len(), 1);

    let endless = || page("", "<nextToken>again</nextToken>");
    let wire = Wire::answering(std::array::from_fn::<_, 10, _>(|_| endless()));
    let error = reserved(&wire.clients().ec2, &reservation_id()).await.unwrap_err();
    let why = "describe instances of cr-0a1b2c3d4e5f60718: the list has more than 10 pages";
    assert_eq!(error.why(), why);
    assert_eq!(wire.sent().len(), 10);
}

fn status_page(statuses: &str, next: &str) -> Answer {
    Answer::Of(
        200,
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<DescribeInstanceStatusResponse {XMLNS}>\n\
             <requestId>3be1508e-c444-4fef-89cc-0b1223c4f02f</requestId>\n\
             <instanceStatusSet>{statuses}</instanceStatusSet>{next}\
             </DescribeInstanceStatusResponse>"
        ),
    )
}

/// `events` is the whole element, which EC2 leaves out where there are none.
fn status(id: &str, events: &str) -> String {
    let check = "<status>ok</status><details><item><name>reachability</name>\
                 <status>passed</status></item></details>";
    format!(
        "<item>\n  <instanceId>{id}</instanceId>\n  <availabilityZone>eu-central-1a\
         </availabilityZone>{events}<instanceState><code>16</code><name>running</name>\
         </instanceState><systemStatus>{check}</systemStatus><instanceStatus>{check}\
         </instanceStatus>\n</item>"
    )
}

fn event(description: &str) -> String {
    format!(
        "<item><instanceEventId>instance-event-0d59937288b749b32</instanceEventId>\
         <code>system-reboot</code><description>{description}</description>\
         <notAfter>2026-12-01T11:00:00.000Z</notAfter>\
         <notBefore>2026-12-01T09:00:00.000Z</notBefore></item>"
    )
}

#[track_caller]
fn ids<const N: usize>(texts: [&str; N]) -> BTreeSet<decision::id::InstanceId> {
    texts.into_iter().map(instance).collect()
}

#[tokio::test(start_paused = true)]
async fn an_instance_is_scheduled_while_one_of_its_events_is_not_over() {
    let ahead = event("The instance is scheduled for a reboot");
    let completed = event("[Completed] The instance is scheduled for a reboot");
    let canceled = event("[Canceled] scheduled reboot");
    let undescribed = "<item><code>instance-retirement</code></item>";
    let rows = [
        ("one event", format!("<eventsSet>{ahead}</eventsSet>"), true),
        ("completed", format!("<eventsSet>{completed}</eventsSet>"), false),
        ("canceled", format!("<eventsSet>{canceled}</eventsSet>"), false),
        ("both over", format!("<eventsSet>{completed}{canceled}</eventsSet>"), false),
        ("over and ahead", format!("<eventsSet>{completed}{ahead}</eventsSet>"), true),
        ("without a description", format!("<eventsSet>{undescribed}</eventsSet>"), true),
        (
            "the mark stands later",
            format!("<eventsSet>{}</eventsSet>", event("a [Completed]")),
            true,
        ),
        ("an empty list", "<eventsSet/>".to_owned(), false),
        ("no list", String::new(), false),
    ];
    for (name, events, is_scheduled) in rows {
        let other = status("i-0bbb1111bbb22222c", "");
        let wire =
            Wire::answering([status_page(&(status("i-0aaa1111bbb22222c", &events) + &other), "")]);
        let asked = ["i-0aaa1111bbb22222c", "i-0bbb1111bbb22222c"].map(instance);
        let found = scheduled(&wire.clients().ec2, &asked).await.unwrap();
        let expected = if is_scheduled { ids(["i-0aaa1111bbb22222c"]) } else { ids([]) };
        assert_eq!(found, expected, "{name}");
        let form = "Action=DescribeInstanceStatus&Version=2016-11-15&IncludeAllInstances=true\
                    &InstanceId.1=i-0aaa1111bbb22222c&InstanceId.2=i-0bbb1111bbb22222c";
        assert_eq!(wire.bodies(), [form], "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hundred_ids_go_into_one_status_request_and_pages_are_followed() {
    let ahead = format!("<eventsSet>{}</eventsSet>", event("scheduled"));
    let wire = Wire::answering([
        status_page(&status("i-0ccc1111bbb22222c", &ahead), ""),
        status_page("", "<nextToken>a+b=</nextToken>"),
        status_page(&status("i-0aaa1111bbb22222c", &ahead), "<nextToken/>"),
    ]);
    let asked: Vec<_> = (0..101).map(|n| instance(&format!("i-0aaa1111bbb22{n:04}"))).collect();
    let found = scheduled(&wire.clients().ec2, &asked).await.unwrap();
    assert_eq!(found, ids(["i-0aaa1111bbb22222c", "i-0ccc1111bbb22222c"]));
    let bodies = wire.bodies();
    let counts: Vec<usize> =
        bodies.iter().map(|body| body.matches("&InstanceId.").count()).collect();
    assert_eq!(counts, [1, 100, 100]);
    assert_eq!(bodies[2], bodies[1].clone() + "&NextToken=a%2Bb%3D");
    assert!(bodies.iter().all(|body| !body.contains("MaxResults")), "not together with ids");
}

#[tokio::test(start_paused = true)]
async fn a_status_list_goes_on_for_ten_pages_at_most_and_nothing_is_asked_about_no_instance() {
    let endless = || status_page("", "<nextToken>again</nextToken>");
    let wire = Wire::answering(std::array::from_fn::<_, 10, _>(|_| endless()));
    let asked = [instance("i-0aaa1111bbb22222c")];
    let error = scheduled(&wire.clients().ec2, &asked).await.unwrap_err();
    let why = "describe status of instances i-0aaa1111bbb22222c: the list has more than 10 pages";
    assert_eq!(error.why(), why);
    assert_eq!(wire.sent().len(), 10);

    let wire = Wire::answering([]);
    assert_eq!(scheduled(&wire.clients().ec2, &[]).await.unwrap(), ids([]));
    assert_eq!(wire.sent().len(), 0);
}

const A: &str = "i-0aaa1111bbb22222c";
const B: &str = "i-0bbb1111bbb22222c";
const C: &str = "i-0ccc1111bbb22222c";

/// What is asked for after each answer, the last of which ends it.
async fn asked_in_turn<const N: usize>(
    answers: [Answer; N],
) -> (BTreeSet<String>, Vec<Vec<String>>) {
    let wire = Wire::answering(answers);
    let found = scheduled(&wire.clients().ec2, &[A, B, C].map(instance)).await.unwrap();
    let asked = wire.bodies().into_iter().map(|body| {
        let ids = body.split('&').filter(|pair| pair.starts_with("InstanceId."));
        ids.filter_map(|pair| pair.split_once('=')).map(|(_, id)| id.to_owned()).collect()
    });
    (found.iter().map(ToString::to_string).collect(), asked.collect())
}

fn unknown(message: &str) -> Answer {
    error(400, "InvalidInstanceID.NotFound", message)
}

#[tokio::test(start_paused = true)]
async fn ids_that_ec2_does_not_know_are_left_out_and_the_others_asked_for_again() {
    let ahead = format!("<eventsSet>{}</eventsSet>", event("scheduled"));
    let good = || status_page(&status(A, &ahead), "");
    let one = unknown(&format!("The instance ID '{B}' does not exist"));
    let (found, asked) = asked_in_turn([one, good()]).await;
    assert_eq!(found, [A.to_owned()].into());
    assert_eq!(asked, [vec![A, B, C], vec![A, C]]);

    let two = unknown(&format!("The instance IDs '{B}, {C}' do not exist"));
    let (found, asked) = asked_in_turn([two, good()]).await;
    assert_eq!(found, [A.to_owned()].into());
    assert_eq!(asked, [vec![A, B, C], vec![A]]);

    let all = unknown(&format!("The instance IDs '{A}, {B}, {C}' do not exist"));
    let (found, asked) = asked_in_turn([all]).await;
    assert_eq!(found, BTreeSet::new());
    assert_eq!(asked, [vec![A, B, C]]);

    let malformed =
        error(400, "InvalidInstanceID.Malformed", &format!("Invalid id: &quot;{C}&quot;"));
    let (found, asked) = asked_in_turn([malformed, good()]).await;
    assert_eq!(found, [A.to_owned()].into());
    assert_eq!(asked, [vec![A, B, C], vec![A, B]]);
}

/// A longer id that only begins like one of ours names none of ours.
#[tokio::test(start_paused = true)]
async fn each_id_is_asked_for_alone_where_ec2_does_not_say_which_it_means() {
    let ahead = format!("<eventsSet>{}</eventsSet>", event("scheduled"));
    let longer = unknown(&format!("The instance ID '{A}0' does not exist"));
    let (found, asked) = asked_in_turn([
        longer,
        status_page(&status(C, &ahead), ""),
        unknown("The instance ID does not exist"),
        status_page(&status(A, &ahead), ""),
    ])
    .await;
    assert_eq!(found, [A.to_owned(), C.to_owned()].into());
    assert_eq!(asked, [vec![A, B, C], vec![C], vec![B], vec![A]]);
}

#[tokio::test(start_paused = true)]
async fn any_other_refusal_ends_the_question_about_events() {
    let rows = [
        (503, "RequestLimitExceeded", "Request limit exceeded.", Class::Throttled(None)),
        (403, "UnauthorizedOperation", "You are not authorized", Class::Denied),
        (500, "InternalError", "An internal error has occurred", Class::Again),
    ];
    for (status, code, message, class) in rows {
        let wire = Wire::answering([error(status, code, message)]);
        let error = scheduled(&wire.clients().ec2, &[A, B].map(instance)).await.unwrap_err();
        assert_eq!(error.class(), class, "{code}");
        let why =
            format!("describe status of instances {A}, {B}: {code}: {message} (HTTP {status})");
        assert_eq!(error.why(), why);
        assert_eq!(wire.sent().len(), 1, "{code}");
    }
    let broken = status_page("<item><eventsSet/></item>", "");
    let rows = [
        (broken, "the answer does not parse"),
        (
            status_page(&status("x", &format!("<eventsSet>{}</eventsSet>", event("e"))), ""),
            "instance id `x`",
        ),
    ];
    for (answer, words) in rows {
        let wire = Wire::answering([answer]);
        let error = scheduled(&wire.clients().ec2, &[instance(A)]).await.unwrap_err();
        assert!(error.why().contains(words), "{}", error.why());
        assert_eq!(error.class(), Class::Final, "{words}");
    }
}
