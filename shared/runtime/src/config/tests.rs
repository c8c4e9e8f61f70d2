use super::*;
use decision::policy::Mode;
use std::collections::{BTreeMap, BTreeSet};

/// What Lambda sets by itself.
const LAMBDA: [(&str, &str); 4] = [
    ("AWS_REGION", "eu-central-1"),
    ("AWS_ACCESS_KEY_ID", "ASIAEXAMPLE"),
    ("AWS_SECRET_ACCESS_KEY", "wJalrEXAMPLEKEY"),
    ("AWS_SESSION_TOKEN", "IQoJb3JpZ2luEXAMPLE"),
];

const QUEUE: &str = "https://sqs.eu-central-1.amazonaws.com/123456789012/ebbtide";
const DEAD: &str = "https://sqs.eu-central-1.amazonaws.com/123456789012/ebbtide-dead";

/// What Lambda sets with these variables over it; an empty one counts as unset.
fn parse(variables: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    let set: BTreeMap<&str, &str> = LAMBDA.iter().chain(variables).copied().collect();
    Config::parse(|name| set.get(name).map(|text| (*text).to_owned()))
}

#[track_caller]
fn mistakes(variables: &[(&str, &str)], expected: &str) {
    let errors = parse(variables).unwrap_err();
    assert_eq!(errors.to_string(), expected, "{variables:?}");
}

#[test]
fn what_lambda_sets_is_enough() {
    let config = parse(&[]).unwrap();
    assert_eq!(config.policy, Policy::default());
    assert_eq!(config.region.as_ref(), "eu-central-1");
    assert_eq!(config.credentials.access_key_id(), "ASIAEXAMPLE");
    assert_eq!(config.credentials.secret_access_key(), "wJalrEXAMPLEKEY");
    assert_eq!(config.credentials.session_token(), Some("IQoJb3JpZ2luEXAMPLE"));
    assert_eq!(config.endpoints, Endpoints::default());
    assert_eq!(config.sts_host, None);
    assert_eq!(config.queues, None);
    assert_eq!(config.concurrency, 20);
    assert_eq!(config.event_bus, None);
    assert_eq!((config.log_level, config.log_format), (LogLevel::Info, LogFormat::Text));
}

#[test]
fn every_variable_arrives_in_its_field() {
    let config = parse(&[
        ("MODE", "act"),
        ("QUEUE_URL", QUEUE),
        ("DEAD_LETTER_QUEUE_URL", DEAD),
        ("MAXIMUM_CONCURRENCY", " 5 "),
        ("EVENT_BUS", " ops "),
        ("AWS_LAMBDA_LOG_LEVEL", "debug"),
        ("AWS_LAMBDA_LOG_FORMAT", "JSON"),
        ("AWS_SESSION_TOKEN", ""),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:4566/"),
        ("AWS_ENDPOINT_URL_EKS", "https://eks.internal"),
        ("AWS_ENDPOINT_URL_STS", "https://sts-fips.us-east-1.amazonaws.com"),
    ])
    .unwrap();
    assert_eq!(config.policy.mode, Mode::Act);
    let queues = config.queues.unwrap();
    assert_eq!((queues.source.as_str(), queues.dead_letter.as_str()), (QUEUE, DEAD));
    assert_eq!(config.concurrency, 5);
    assert_eq!(config.event_bus.as_deref(), Some("ops"));
    assert_eq!((config.log_level, config.log_format), (LogLevel::Debug, LogFormat::Json));
    assert_eq!(config.credentials.session_token(), None);
    let mut endpoints = Endpoints::all("http://127.0.0.1:4566");
    endpoints.eks = Some("https://eks.internal".to_owned());
    assert_eq!(config.endpoints, endpoints);
    assert_eq!(config.sts_host.as_deref(), Some("sts-fips.us-east-1.amazonaws.com"));
}

#[test]
fn each_services_own_endpoint_goes_before_the_general_one() {
    type Field = fn(&Endpoints) -> &Option<String>;
    let rows: [(&str, Field); 6] = [
        ("AWS_ENDPOINT_URL_AUTO_SCALING", |endpoints| &endpoints.autoscaling),
        ("AWS_ENDPOINT_URL_EC2", |endpoints| &endpoints.ec2),
        ("AWS_ENDPOINT_URL_EKS", |endpoints| &endpoints.eks),
        ("AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2", |endpoints| &endpoints.elbv2),
        ("AWS_ENDPOINT_URL_EVENTBRIDGE", |endpoints| &endpoints.events),
        ("AWS_ENDPOINT_URL_SQS", |endpoints| &endpoints.sqs),
    ];
    for (variable, field) in rows {
        let own = parse(&[(variable, "https://own"), ("AWS_ENDPOINT_URL", "https://all")]).unwrap();
        assert_eq!(field(&own.endpoints).as_deref(), Some("https://own"), "{variable}");
        let others = rows.iter().filter(|(other, _)| *other != variable);
        for (other, field) in others {
            let url = field(&own.endpoints).as_deref();
            assert_eq!(url, Some("https://all"), "{variable}: {other}");
        }
        let alone = parse(&[(variable, "https://own")]).unwrap();
        assert_eq!(field(&alone.endpoints).as_deref(), Some("https://own"), "{variable}");
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let expected = "\
MODE: `on`, expected observe or act or paused
QUEUE_URL: `ebbtide`, expected a queue's URL, such as https://sqs.eu-central-1.amazonaws.com/123456789012/ebbtide
MAXIMUM_CONCURRENCY: `1`, expected a whole number from 2 to 1000, the MaximumConcurrency of the event source mapping
EVENT_BUS: `aws.partner/ops`, expected the name or ARN of an event bus, such as default
AWS_LAMBDA_LOG_LEVEL: `FATAL`, expected TRACE, DEBUG, INFO, WARN or ERROR
AWS_REGION: `Frankfurt`, expected a region, such as eu-central-1
AWS_ACCESS_KEY_ID: ``, expected an access key id (Lambda sets it from the function's role)
AWS_SECRET_ACCESS_KEY: ``, expected a secret access key (Lambda sets it from the function's role)
AWS_ENDPOINT_URL: `localhost:4566`, expected http:// or https://, a host, and no query
AWS_ENDPOINT_URL_SQS: `https://user:pw@sqs`, expected http:// or https://, a host, and no query
AWS_ENDPOINT_URL_STS: `http://127.0.0.1:4566`, expected https:// and one of STS's own hosts, no path";
    mistakes(
        &[
            ("MODE", "on"),
            ("QUEUE_URL", "ebbtide"),
            ("MAXIMUM_CONCURRENCY", "1"),
            ("EVENT_BUS", "aws.partner/ops"),
            ("AWS_LAMBDA_LOG_LEVEL", "FATAL"),
            ("AWS_REGION", "Frankfurt"),
            ("AWS_ACCESS_KEY_ID", ""),
            ("AWS_SECRET_ACCESS_KEY", "  "),
            ("AWS_ENDPOINT_URL", "localhost:4566"),
            ("AWS_ENDPOINT_URL_SQS", "https://user:pw@sqs"),
            ("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:4566"),
        ],
        expected,
    );
}

#[test]
fn a_queue_and_its_dead_letter_queue_go_together() {
    let form = "expected a queue's URL, such as \
                https://sqs.eu-central-1.amazonaws.com/123456789012/ebbtide";
    let missing = format!("DEAD_LETTER_QUEUE_URL: ``, {form}, since QUEUE_URL is set");
    mistakes(&[("QUEUE_URL", QUEUE)], &missing);
    let missing = format!("QUEUE_URL: ``, {form}, since DEAD_LETTER_QUEUE_URL is set");
    mistakes(&[("DEAD_LETTER_QUEUE_URL", DEAD)], &missing);
    let same = "DEAD_LETTER_QUEUE_URL: \
                `https://sqs.eu-central-1.amazonaws.com/123456789012/ebbtide`, \
                expected another queue than QUEUE_URL";
    mistakes(&[("QUEUE_URL", QUEUE), ("DEAD_LETTER_QUEUE_URL", QUEUE)], same);
    let wrong = format!("DEAD_LETTER_QUEUE_URL: `ebbtide-dead`, {form}");
    mistakes(&[("QUEUE_URL", QUEUE), ("DEAD_LETTER_QUEUE_URL", "ebbtide-dead")], &wrong);
}

#[test]
fn limits_are_taken_on_both_sides() {
    for (text, concurrency) in [("1", None), ("2", Some(2)), ("1000", Some(1000)), ("1001", None)] {
        let parsed = parse(&[("MAXIMUM_CONCURRENCY", text)]);
        assert_eq!(parsed.ok().map(|config| config.concurrency), concurrency, "{text}");
    }
}

#[test]
fn an_event_bus_has_a_name_or_an_arn() {
    let long = "x".repeat(256);
    let too_long = "x".repeat(257);
    let rows = [
        ("default", true),
        ("ops.prod-1_a", true),
        (&long, true),
        (&too_long, false),
        ("arn:aws:events:eu-central-1:123456789012:event-bus/ops", true),
        ("arn:aws-us-gov:events:us-gov-west-1:123456789012:event-bus/default", true),
        ("arn:aws:events:eu-central-1:123456789012:event-bus/", false),
        ("arn:aws:events:eu-central-1:123456789012:event-bus/a/b", false),
        ("arn:aws:events:eu-central-1:123456789012:rule/ops", false),
        ("arn:aws:events:eu-central-1:12345678901:event-bus/ops", false),
        ("arn:aws:events:Frankfurt:123456789012:event-bus/ops", false),
        ("arn:aws:sqs:eu-central-1:123456789012:event-bus/ops", false),
        ("arn:other:events:eu-central-1:123456789012:event-bus/ops", false),
        ("event-bus/ops", false),
        ("two words", false),
        ("https://events.eu-central-1.amazonaws.com", false),
    ];
    for (text, is_bus) in rows {
        let parsed = parse(&[("EVENT_BUS", text)]);
        let bus = parsed.ok().and_then(|config| config.event_bus);
        assert_eq!(bus.as_deref(), is_bus.then_some(text), "{text}");
    }
}

#[test]
fn regions_of_all_partitions_are_known_by_their_form() {
    let rows = [
        ("us-gov-west-1", true),
        ("eusc-de-east-1", true),
        ("ap-southeast-12", true),
        ("eu-central", false),
        ("eu-central-1a", false),
        ("central-1", false),
        ("eu--1", false),
    ];
    for (text, is_region) in rows {
        assert_eq!(parse(&[("AWS_REGION", text)]).is_ok(), is_region, "{text}");
    }
}

#[test]
fn urls_are_checked_as_far_as_a_typing_mistake_shows() {
    let rows = [
        ("https://sqs.eu-central-1.amazonaws.com", true),
        ("http://127.0.0.1:4566", true),
        ("https://host/with/a/path", true),
        ("https://", false),
        ("https:///path", false),
        ("https://:443", false),
        ("https://host?query", false),
        ("https://host with space", false),
        ("ftp://host", false),
    ];
    for (text, is_url) in rows {
        let parsed = text.parse::<Url>();
        assert_eq!(parsed.is_ok(), is_url, "{text}");
        if let Ok(url) = parsed {
            assert_eq!(url.to_string(), text, "as it was written");
        }
    }
}

#[test]
fn neither_debug_nor_a_mistake_shows_a_secret() {
    let config = parse(&[]).unwrap();
    let shown = format!("{config:?}");
    assert!(shown.contains("ASIAEXAMPLE"), "{shown}");
    for secret in ["wJalrEXAMPLEKEY", "IQoJb3JpZ2luEXAMPLE"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    let errors = parse(&[("AWS_REGION", "nowhere")]).unwrap_err();
    assert!(!errors.to_string().contains("EXAMPLE"), "{errors}");
}

#[test]
fn each_default_has_the_form_it_asks_for_and_each_row_its_reason() {
    let mut variables = BTreeSet::new();
    for setting in SETTINGS {
        let mut draft = Draft::default();
        if !setting.default.is_empty() {
            (setting.apply)(&mut draft, setting.default).unwrap_or_else(|form| {
                panic!("{}: its default is not {form}", setting.variable);
            });
        }
        assert!(!setting.form.is_empty() && !setting.why.is_empty(), "{}", setting.variable);
        assert!(variables.insert(setting.variable), "{} twice", setting.variable);
    }
    for setting in decision::policy::SETTINGS {
        assert!(variables.insert(setting.variable), "{} is the policy's too", setting.variable);
    }
}
