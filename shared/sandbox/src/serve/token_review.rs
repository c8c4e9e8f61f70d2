//! EKS's authenticator: a TokenReview webhook that takes the bearer tokens which EKS's clients make.
//!
//! A token wraps a presigned GetCallerIdentity. Its form is checked first, then STS is asked whose signature
//! it is, with the cluster's own name in the header that binds a token to one cluster, and at last the
//! access entries say who that is in the cluster.
//!
//! ```text
//!   k8s-aws-v1.… ─> form, host, header signed, age ─> STS ─> arn:…:assumed-role/R/S ─> role R ─> user, groups
//! ```

use super::http::{Request, Response};
use super::signature::{self, instant};
use crate::aws;
use crate::aws::eks::AccessEntry;
use crate::aws::sts::{Sts, access_key, user_id};
use crate::world::{Call, World};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Where the webhook is; the cluster's name may follow.
pub(super) const PATH: &str = "/tokenreview";

/// Longer tokens are refused unread.
const TOKEN_BYTES_MAX: usize = 4_096;

/// The most that `X-Amz-Expires` may say, in seconds; what it says is not used.
const EXPIRES_SECONDS_MAX: i64 = 900;

/// The header that binds a token to a cluster.
const CLUSTER_HEADER: &str = "x-k8s-aws-id";

/// What a token's query may hold.
const PARAMETERS: [&str; 9] = [
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

/// The cluster that a path of the webhook names: nothing where it is the only one there is.
pub(super) fn cluster(path: &str) -> Option<&str> {
    let path = path.split('?').next().unwrap_or_default();
    match path.strip_prefix(PATH)? {
        "" => Some(""),
        rest => rest.strip_prefix('/'),
    }
}

/// Answers one TokenReview, and records it as a call.
pub(super) fn serve(world: &mut World, cluster: &str, request: &Request) -> Response {
    let Ok(mut review) = serde_json::from_slice::<Value>(&request.body) else {
        return Response::json(400, r#"{"error":"not a TokenReview"}"#);
    };
    let token = match (request.method.as_str(), &review["kind"], &review["spec"]["token"]) {
        ("POST", Value::String(kind), Value::String(token)) if kind == "TokenReview" => {
            token.clone()
        }
        _ => return Response::json(400, r#"{"error":"not a TokenReview"}"#),
    };
    let clusters = &world.aws.eks.clusters;
    let only = clusters.keys().next().filter(|_| clusters.len() == 1);
    let name = Some(cluster.to_owned()).filter(|name| !name.is_empty()).or_else(|| only.cloned());
    let user = name.ok_or("which cluster is meant is not said").map_err(str::to_owned);
    let user = user.and_then(|name| authenticate(world, &name, &token));
    let (status, subject) = match user {
        Ok(user) => {
            let name = user["username"].as_str().unwrap_or_default().to_owned();
            (json!({ "authenticated": true, "user": user }), name)
        }
        Err(why) => (json!({ "authenticated": false, "error": why.clone() }), why),
    };
    world.calls.push(Call {
        at: world.now,
        process: 0,
        operation: "POST tokenreviews".to_owned(),
        subject,
        status: 200,
        write: false,
    });
    // The token stays out of the answer.
    review["spec"] = json!({});
    review["status"] = status;
    Response::json(200, review.to_string())
}

/// The user that a token stands for, or why it stands for nobody.
fn authenticate(world: &World, cluster: &str, token: &str) -> Result<Value, String> {
    let request = presigned(world, cluster, token)?;
    signature::check(world, &request)
        .map_err(|fault| format!("STS refused the token: {fault:?}"))?;
    let arn = Sts::caller(&world.aws, &request);
    let (principal, session) = principal(&arn)?;
    let entries = &world.aws.eks.access_entries;
    let entry = entries.get(&(cluster.to_owned(), principal.clone()));
    let AccessEntry { username, groups } =
        entry.ok_or_else(|| format!("no access entry for {principal} in {cluster}"))?;
    // A session's name may hold `@`, which a user's may not.
    let username = username.replace("{{SessionName}}", &session.replace('@', "-"));
    let id = user_id(&arn);
    let id = id.split(':').next().unwrap_or_default();
    Ok(json!({
        "username": username,
        "uid": format!("aws-iam-authenticator:{}:{id}", world.aws.account),
        "groups": groups,
        "extra": {
            "accessKeyId": [access_key(&request).unwrap_or_default()],
            "arn": [arn],
            "canonicalArn": [principal],
            "principalId": [id],
            "sessionName": [session],
        },
    }))
}

/// The request that a token wraps, as the authenticator sends it to STS.
fn presigned(world: &World, cluster: &str, token: &str) -> Result<aws::Request, String> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err("token is too large".to_owned());
    }
    let encoded = token.strip_prefix("k8s-aws-v1.");
    let encoded = encoded.ok_or("token is missing expected \"k8s-aws-v1.\" prefix")?;
    let url = URL_SAFE_NO_PAD.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let url = url.ok_or("token is not base64 of a URL")?;
    let rest = url.strip_prefix("https://").ok_or("unexpected scheme in pre-signed URL")?;
    let (host, path) = rest.split_once('/').ok_or("no path in pre-signed URL")?;
    if !is_sts(host) {
        return Err(format!("unexpected hostname {host:?} in pre-signed URL"));
    }
    let query = path.strip_prefix('?').ok_or("unexpected path in pre-signed URL")?;
    mind_query(world, query)?;
    let headers = [("host", host), (CLUSTER_HEADER, cluster)];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Ok(aws::Request {
        host: host.to_owned(),
        path: format!("/?{query}"),
        method: "GET".to_owned(),
        headers: BTreeMap::from(headers),
        body: Vec::new(),
    })
}

/// Checks what a token's query says before anybody is asked.
fn mind_query(world: &World, query: &str) -> Result<(), String> {
    let pairs = || form_urlencoded::parse(query.as_bytes());
    let mut seen = BTreeSet::new();
    for (name, _) in pairs() {
        let name = name.to_ascii_lowercase();
        if !PARAMETERS.contains(&name.as_str()) {
            return Err(format!("non-whitelisted query parameter {name:?}"));
        }
        if !seen.insert(name.clone()) {
            return Err(format!("query parameter {name:?} more than once"));
        }
    }
    let value = |wanted: &str| {
        let found = pairs().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| value.into_owned()).unwrap_or_default()
    };
    if value("Action") != "GetCallerIdentity" {
        return Err("unexpected action parameter in pre-signed URL".to_owned());
    }
    if !value("X-Amz-SignedHeaders").split(';').any(|name| name == CLUSTER_HEADER) {
        return Err(format!("client did not sign the {CLUSTER_HEADER} header"));
    }
    let expires = value("X-Amz-Expires").parse::<i64>();
    if !expires.is_ok_and(|seconds| (0..=EXPIRES_SECONDS_MAX).contains(&seconds)) {
        return Err("invalid X-Amz-Expires parameter in pre-signed URL".to_owned());
    }
    let date = value("X-Amz-Date");
    let at = instant(&date).ok_or("error parsing X-Amz-Date parameter")?;
    let valid = world.aws.sts.token_valid_ms;
    if world.now > at + valid {
        let minutes = valid / 60_000;
        return Err(format!(
            "X-Amz-Date parameter is expired ({minutes} minute expiration) {date}"
        ));
    }
    Ok(())
}

/// Regional, global, FIPS and dual-stack hosts.
fn is_sts(host: &str) -> bool {
    let rest = host.strip_prefix("sts.").or_else(|| host.strip_prefix("sts-fips."));
    let Some(rest) = rest else { return false };
    let plain = |region: &str| {
        region
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    let suffixes = ["amazonaws.com", "amazonaws.com.cn", "api.aws"];
    suffixes.into_iter().any(|suffix| match rest.strip_suffix(suffix) {
        Some("") => suffix == "amazonaws.com",
        Some(region) => region.strip_suffix('.').is_some_and(plain),
        None => false,
    })
}

/// Whom an access entry names for this caller, and the session's name: the role of a session, or the user.
fn principal(arn: &str) -> Result<(String, String), String> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let [_, partition, _, _, account, path] = parts.as_slice() else {
        return Err(format!("{arn} is no ARN"));
    };
    match path.split('/').collect::<Vec<_>>().as_slice() {
        ["assumed-role", role, session] => {
            Ok((format!("arn:{partition}:iam::{account}:role/{role}"), (*session).to_owned()))
        }
        _ => Ok((arn.to_owned(), String::new())),
    }
}
