//! EKS: DescribeCluster, and the token against the rules of aws-iam-authenticator.

use crate::fake::{Answer, NOW_SECONDS, Wire, json_error};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloud::clients::credentials;
use cloud::eks::{BearerToken, ClusterAccess, cluster, token};
use cloud::{Credentials, Region};
use decision::id::ClusterName;
use decision::step::Class;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

fn name() -> ClusterName {
    ClusterName::parse("prod-1").unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_cluster_has_an_endpoint_and_a_certificate_authority() {
    let body = serde_json::json!({ "cluster": {
        "name": "prod-1",
        "status": "ACTIVE",
        "endpoint": "https://A0DCCD80A04F01705DD065655C30CC3D.yl4.eu-central-1.eks.amazonaws.com",
        "certificateAuthority": { "data": "LS0tLS1CRUdJTi0tLS0tCg==" },
    }});
    let wire = Wire::answering([Answer::Of(200, body.to_string())]);
    let access = cluster(&wire.clients().eks, &name()).await.unwrap();
    let host = "A0DCCD80A04F01705DD065655C30CC3D.yl4.eu-central-1.eks.amazonaws.com";
    let expected = ClusterAccess {
        name: name(),
        endpoint: format!("https://{host}"),
        certificate_authority_pem: b"-----BEGIN-----\n".to_vec(),
    };
    assert_eq!(access, Some(expected));
    let [sent] = &wire.sent()[..] else { panic!("one request") };
    assert_eq!(sent.url, "https://eks.eu-central-1.amazonaws.com/clusters/prod-1");
    assert_eq!(sent.body, "");
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_does_not_exist_is_none() {
    let refused =
        json_error(404, "ResourceNotFoundException", "No cluster found for name: prod-1.");
    let wire = Wire::answering([refused]);
    assert_eq!(cluster(&wire.clients().eks, &name()).await.unwrap(), None);
    assert_eq!(wire.sent().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn refusals_have_their_class() {
    let rows = [
        (429, "TooManyRequestsException", Class::Throttled(None)),
        (400, "ThrottlingException", Class::Throttled(None)),
        (403, "AccessDeniedException", Class::Denied),
        (403, "ExpiredTokenException", Class::Denied),
        (500, "ServerException", Class::Again),
        (503, "ServiceUnavailableException", Class::Again),
        (400, "ClientException", Class::Final),
        (404, "SomethingElse", Class::Gone),
    ];
    for (status, code, class) in rows {
        let wire = Wire::answering([json_error(status, code, "because")]);
        let error = cluster(&wire.clients().eks, &name()).await.unwrap_err();
        assert_eq!(error.class(), class, "{code}");
        assert_eq!(
            error.why(),
            format!("describe cluster prod-1: {code}: because (HTTP {status})")
        );
        assert_eq!(wire.sent().len(), 1, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_is_not_ready_to_connect_to_is_an_error() {
    let rows = [
        (serde_json::json!({ "status": "CREATING" }), "the answer has no endpoint"),
        (serde_json::json!({ "endpoint": "https://x" }), "no certificateAuthority.data"),
        (
            serde_json::json!({ "endpoint": "https://x", "certificateAuthority": { "data": "?" } }),
            "the answer does not parse",
        ),
    ];
    for (described, words) in rows {
        let body = serde_json::json!({ "cluster": described }).to_string();
        let wire = Wire::answering([Answer::Of(200, body)]);
        let error = cluster(&wire.clients().eks, &name()).await.unwrap_err();
        assert!(error.why().contains(words), "{}", error.why());
    }
}

fn session() -> Credentials {
    let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
    credentials("AKIDEXAMPLE", secret, Some("IQoJb3JpZ2luX2VjE+/=token"))
}

fn made(region: &'static str, credentials: &Credentials, host: Option<&str>) -> BearerToken {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW_SECONDS);
    token(&name(), &Region::new(region), credentials, now, host).unwrap()
}

fn decoded(token: &BearerToken) -> String {
    let encoded = token.expose().strip_prefix("k8s-aws-v1.").unwrap();
    String::from_utf8(URL_SAFE_NO_PAD.decode(encoded).unwrap()).unwrap()
}

/// The URL was made with botocore's SigV4QueryAuth for the same request, key and time.
#[test]
fn a_token_is_the_presigned_url_that_botocore_makes() {
    assert_eq!(
        sorted(&decoded(&made("eu-central-1", &session(), None))),
        sorted(
            "https://sts.eu-central-1.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15\
             &X-Amz-Algorithm=AWS4-HMAC-SHA256\
             &X-Amz-Credential=AKIDEXAMPLE%2F20261122%2Feu-central-1%2Fsts%2Faws4_request\
             &X-Amz-Date=20261122T093000Z&X-Amz-Expires=60\
             &X-Amz-SignedHeaders=host%3Bx-k8s-aws-id\
             &X-Amz-Security-Token=IQoJb3JpZ2luX2VjE%2B%2F%3Dtoken\
             &X-Amz-Signature=49e1f1bb5355c2cafcc23f617df1a99b6a289429b1df02c7e527e8c56d7df7e0"
        )
    );
}

/// The URL up to its query, and the query's pairs in order of their names.
fn sorted(url: &str) -> (String, Vec<String>) {
    let (base, query) = url.split_once('?').unwrap();
    let mut pairs: Vec<String> = query.split('&').map(str::to_owned).collect();
    pairs.sort();
    (base.to_owned(), pairs)
}

/// The rules that aws-iam-authenticator enforces before it sends the URL to STS.
#[track_caller]
fn check_rules(token: &BearerToken, host: &str, credentials: &Credentials) {
    assert!(token.expose().len() <= 4096, "length");
    assert!(!token.expose().contains('='), "no padding");
    let url = decoded(token);
    let uri: http::Uri = url.parse().unwrap();
    assert_eq!(uri.scheme_str(), Some("https"));
    assert_eq!(uri.host(), Some(host));
    assert_eq!(uri.path(), "/");
    let pairs: Vec<(String, String)> = form_urlencoded::parse(uri.query().unwrap().as_bytes())
        .map(|(key, value)| (key.to_lowercase(), value.into_owned()))
        .collect();
    let query: BTreeMap<&str, &str> =
        pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(query.len(), pairs.len(), "each key once: {pairs:?}");
    let mut keys = vec![
        "action",
        "version",
        "x-amz-algorithm",
        "x-amz-credential",
        "x-amz-date",
        "x-amz-expires",
        "x-amz-security-token",
        "x-amz-signature",
        "x-amz-signedheaders",
    ];
    let in_session = credentials.session_token().is_some();
    keys.retain(|key| in_session || *key != "x-amz-security-token");
    assert_eq!(query.keys().copied().collect::<Vec<_>>(), keys, "allowed keys only");
    assert_eq!(query["action"], "GetCallerIdentity");
    assert!(query["x-amz-signedheaders"].split(';').any(|header| header == "x-k8s-aws-id"));
    assert!((0..=900).contains(&query["x-amz-expires"].parse::<u32>().unwrap()));
    assert_eq!(query["x-amz-date"], "20261122T093000Z");
}

#[test]
fn a_token_follows_the_authenticators_rules_in_every_partition() {
    let rows = [
        ("eu-central-1", None, "sts.eu-central-1.amazonaws.com"),
        ("us-gov-west-1", None, "sts.us-gov-west-1.amazonaws.com"),
        ("cn-north-1", None, "sts.cn-north-1.amazonaws.com.cn"),
        ("eusc-de-east-1", None, "sts.eusc-de-east-1.amazonaws.eu"),
        ("us-east-1", Some("sts-fips.us-east-1.amazonaws.com"), "sts-fips.us-east-1.amazonaws.com"),
    ];
    for (region, given, host) in rows {
        check_rules(&made(region, &session(), given), host, &session());
    }
    let user = credentials("AKIDEXAMPLE", "secret", None);
    check_rules(&made("eu-central-1", &user, None), "sts.eu-central-1.amazonaws.com", &user);
    let long = credentials("ASIAEXAMPLE", "secret", Some(&"x".repeat(2000)));
    check_rules(&made("eu-central-1", &long, None), "sts.eu-central-1.amazonaws.com", &long);
}

#[test]
fn a_token_is_not_printed() {
    let token = made("eu-central-1", &session(), None);
    let shown = format!("{token:?}");
    assert_eq!(shown, format!("BearerToken({} characters)", token.expose().len()));
}

#[test]
fn a_host_that_makes_no_url_is_an_error() {
    let now = SystemTime::UNIX_EPOCH;
    let region = Region::new("eu-central-1");
    let error = token(&name(), &region, &session(), now, Some("no host")).unwrap_err();
    assert!(error.why().starts_with("sign token for cluster prod-1: "), "{}", error.why());
    assert_eq!(error.class(), Class::Final);
}
