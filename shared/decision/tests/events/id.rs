//! Ids and their limits.

use decision::id::{
    AsgName, BootId, ClusterName, HookName, HookToken, InstanceId, NodeName, PodKey, ReservationId,
    TargetGroupArn, Uid,
};

use crate::hook::TOKEN;

fn a(length: usize) -> String {
    "a".repeat(length)
}

#[track_caller]
fn limits<T, E>(parse: fn(&str) -> Result<T, E>, accepted: &[&str], refused: &[&str]) {
    for text in accepted {
        assert!(parse(text).is_ok(), "refuses {text:?}");
    }
    for text in refused {
        assert!(parse(text).is_err(), "accepts {text:?}");
    }
}

#[test]
fn ids_of_aws_are_accepted_and_refused_at_their_limits() {
    let (longest, longer) = (format!("i-{}", a(32)), format!("i-{}", a(33)));
    limits(
        InstanceId::parse,
        &["i-12345678", "i-abcd1111", "i-0a1b2c3d4e5f60718", &longest],
        &["", "i-", "x-12345678", "I-12345678", "i-1234 678", &longer],
    );
    limits(AsgName::parse, &["a b/ü", &a(255)], &["", "a:b", "a\nb", &a(256)]);
    limits(HookName::parse, &["a-b_c/D9", &a(255)], &["", "a b", "ü", &a(256)]);
    limits(
        HookToken::parse,
        &[TOKEN, "71514b9d-6a40-4b26-8523-05e7eEXAMPLE"],
        &["", &a(35), &a(37), &format!("{} ", a(35))],
    );
    limits(ClusterName::parse, &["shop", "9_a-B", &a(100)], &["", "-shop", "a.b", &a(101)]);
    limits(
        ReservationId::parse,
        &["cr-0a1b2c3d4e5f60718", "cr-1"],
        &["", "cr-", "[ODCR ID]", "i-0a1b2c3d4e5f60718", &format!("cr-{}", a(33))],
    );
    let arn =
        "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/web/0123456789abcdef";
    limits(
        TargetGroupArn::parse,
        &[arn, &arn.replace("arn:aws:", "arn:aws-us-gov:")],
        &[
            "web",
            &arn.replace("targetgroup", "loadbalancer"),
            &arn.replace("111122223333", "1111"),
            &arn.replace("elasticloadbalancing", "ec2"),
            &format!("{arn}/more"),
        ],
    );
}

#[test]
fn ids_of_kubernetes_are_accepted_and_refused_at_their_limits() {
    limits(
        NodeName::parse,
        &["ip-10-0-3-41.eu-west-1.compute.internal", "9", &a(253)],
        &["", "A", "a..b", "-a", "a-.b", "a_b", &a(254)],
    );
    limits(Uid::parse, &["4a1f", &a(128)], &["", "a b", &a(129)]);
    limits(BootId::parse, &["4a1f", &a(128)], &["", "a\u{7f}", &a(129)]);
    limits(
        |text| text.parse::<PodKey>(),
        &["shop/web-0"],
        &["", "web-0", "/web-0", "shop/", "a/b/c"],
    );
}

#[test]
fn an_id_error_names_what_was_seen_and_what_was_expected() {
    let text = |error: decision::id::IdError| error.to_string();
    assert_eq!(
        text(InstanceId::parse("x").unwrap_err()),
        "instance id `x`: expected i- and 8 or 17 hexadecimal digits"
    );
    assert_eq!(
        text(HookToken::parse("secret").unwrap_err()),
        "hook token `6 characters`: expected 36 letters, digits and hyphens"
    );
    assert_eq!(text("web".parse::<PodKey>().unwrap_err()), "pod `web`: expected namespace/name");
}

#[test]
fn ids_go_through_their_parser_when_deserialized() {
    assert_eq!(serde_json::to_string(&InstanceId::parse("i-1").unwrap()).unwrap(), "\"i-1\"");
    assert!(serde_json::from_str::<InstanceId>("\"i-1\"").is_ok());
    let error = serde_json::from_str::<InstanceId>("\"web\"").unwrap_err().to_string();
    assert!(error.starts_with("instance id `web`: expected i- and 8"), "{error}");
}

#[test]
fn a_fingerprint_tells_tokens_apart_and_stays_the_same() {
    let fingerprint = |token: &str| HookToken::parse(token).unwrap().fingerprint();
    // FNV-1a, 64 bits, of these 36 bytes: a release must recognise what an older one wrote.
    assert_eq!(fingerprint("3f2504e0-4f89-41d3-9a0c-0305e82c3301"), FINGERPRINT);
    assert_ne!(fingerprint("3f2504e0-4f89-41d3-9a0c-0305e82c3302"), FINGERPRINT);
}

const FINGERPRINT: &str = "3fde1cd4be7e9771";
