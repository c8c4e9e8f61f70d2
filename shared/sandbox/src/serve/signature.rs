//! AWS's Signature Version 4, checked as the services do: in a header, or in the query of a presigned URL.
//!
//! Written from AWS's description, with no code of the clients that sign. An account without keys checks
//! nothing; one that has some takes no others, and says in each service's words what is wrong.

use crate::aws::Request;
use crate::aws::protocol::{Refusal, Service};
use crate::aws::sts::{credential, session_token};
use crate::world::{Millis, World};
use ring::{digest, hmac};
use std::fmt::Write as _;

/// How far the time of a signature may be from the service's; STS has its own number.
const SKEW_MS_MAX: Millis = 300_000;

/// What is wrong with a request's signature.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Fault {
    /// It is not signed, or not in this form.
    Missing,
    /// No such access key, or not with this session token.
    UnknownKey,
    /// The key's session has ended.
    ExpiredKey,
    /// It was signed too long ago, or ahead; in words.
    Old(String),
    /// Signed with another secret, or something else was signed.
    Mismatch,
}

impl Fault {
    /// What `service` says to it.
    pub(super) fn refusal(&self, service: Service) -> Refusal {
        let json = matches!(service, Service::Eks | Service::Events);
        let status = if service == Service::Events { 400 } else { 403 };
        let code = |query, rest: &'static str| if json { rest } else { query };
        let (code, message) = match self {
            Self::Missing => {
                let code =
                    code("MissingAuthenticationToken", "MissingAuthenticationTokenException");
                (code, "Request is missing Authentication Token")
            }
            Self::UnknownKey | Self::Mismatch if service == Service::Ec2 => {
                let message = "AWS was not able to validate the provided access credentials";
                return Refusal::new(401, "AuthFailure", message);
            }
            Self::ExpiredKey | Self::Old(_) if service == Service::Ec2 => {
                return Refusal::new(400, "RequestExpired", "Request has expired.");
            }
            Self::UnknownKey => (
                code("InvalidClientTokenId", "UnrecognizedClientException"),
                "The security token included in the request is invalid.",
            ),
            Self::ExpiredKey => (
                code("ExpiredToken", "ExpiredTokenException"),
                "The security token included in the request is expired",
            ),
            Self::Old(words) => {
                (code("SignatureDoesNotMatch", "InvalidSignatureException"), words.as_str())
            }
            Self::Mismatch => (
                code("SignatureDoesNotMatch", "InvalidSignatureException"),
                "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.",
            ),
        };
        Refusal::new(status, code, message)
    }
}

/// Checks a request's signature against the account's keys and the world's clock.
pub(super) fn check(world: &World, request: &Request) -> Result<(), Fault> {
    let keys = &world.aws.sts.keys;
    if keys.is_empty() {
        return Ok(());
    }
    let signed = Signed::of(request).ok_or(Fault::Missing)?;
    let [id, day, region, service] = signed.scope.each_ref().map(String::as_str);
    // A key of a session is known only together with its token.
    let key = keys.get(id).filter(|key| key.session_token == session_token(request));
    let key = key.ok_or(Fault::UnknownKey)?;
    let at = instant(&signed.date).ok_or(Fault::Missing)?;
    let valid = if service == "sts" { world.aws.sts.token_valid_ms } else { SKEW_MS_MAX };
    in_time(&signed.date, (at, valid), world.now)?;
    let canonical = canonical(request, &signed);
    let hash = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
    let to_sign =
        format!("AWS4-HMAC-SHA256\n{}\n{day}/{region}/{service}/aws4_request\n{hash}", signed.date);
    let mut secret = format!("AWS4{}", key.secret).into_bytes();
    for part in [day, region, service, "aws4_request", &to_sign] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        secret = hmac::sign(&key, part.as_bytes()).as_ref().to_vec();
    }
    if hex(&secret) != signed.signature || !signed.date.starts_with(day) {
        return Err(Fault::Mismatch);
    }
    // Whose session it was is known only now.
    match key.expires_at {
        Some(end) if end <= world.now => Err(Fault::ExpiredKey),
        _ => Ok(()),
    }
}

fn in_time(date: &str, (at, valid): (Millis, Millis), now: Millis) -> Result<(), Fault> {
    let minutes = valid / 60_000;
    if now > at + valid {
        let (oldest, now) = (basic(now - valid), basic(now));
        return Err(Fault::Old(format!(
            "Signature expired: {date} is now earlier than {oldest} ({now} - {minutes} min.)"
        )));
    }
    if at > now + valid {
        let (newest, now) = (basic(now + valid), basic(now));
        return Err(Fault::Old(format!(
            "Signature not yet current: {date} is still later than {newest} ({now} + {minutes} min.)"
        )));
    }
    Ok(())
}

/// A signature, and what it says it covers.
#[derive(Debug)]
struct Signed {
    /// Access key, day, Region, service.
    scope: [String; 4],
    /// `20261122T120000Z`
    date: String,
    /// The headers that it covers, in order.
    headers: Vec<String>,
    /// In hexadecimal.
    signature: String,
    presigned: bool,
}

impl Signed {
    fn of(request: &Request) -> Option<Self> {
        let credential = credential(request)?;
        let mut parts = credential.split('/').map(str::to_owned);
        let scope = [parts.next()?, parts.next()?, parts.next()?, parts.next()?];
        let authorization = request.headers.get("authorization");
        let (date, headers, signature) = if let Some(header) = authorization {
            let parameters = header.strip_prefix("AWS4-HMAC-SHA256 ")?;
            let value = |name: &str| {
                let mut pairs =
                    parameters.split(',').filter_map(|pair| pair.trim().split_once('='));
                pairs.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
            };
            let date = request.headers.get("x-amz-date")?.clone();
            (date, value("SignedHeaders")?, value("Signature")?)
        } else {
            let (_, query) = request.path.split_once('?')?;
            let value = |name: &str| {
                let mut pairs = form_urlencoded::parse(query.as_bytes());
                pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
            };
            let algorithm = value("X-Amz-Algorithm")?;
            if algorithm != "AWS4-HMAC-SHA256" {
                return None;
            }
            (value("X-Amz-Date")?, value("X-Amz-SignedHeaders")?, value("X-Amz-Signature")?)
        };
        let headers = headers.split(';').map(str::to_owned).collect();
        Some(Self { scope, date, headers, signature, presigned: authorization.is_none() })
    }
}

/// The request in the form that is signed.
fn canonical(request: &Request, signed: &Signed) -> String {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let mut pairs: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes())
        .filter(|(name, _)| !(signed.presigned && name == "X-Amz-Signature"))
        .map(|(name, value)| (encode(&name, ""), encode(&value, "")))
        .collect();
    pairs.sort();
    let query: Vec<String> =
        pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut headers = String::new();
    for name in &signed.headers {
        let value = request.headers.get(name).map(String::as_str).unwrap_or_default();
        let words: Vec<&str> = value.split_whitespace().collect();
        headers.push_str(&[name, ":", &words.join(" "), "\n"].concat());
    }
    let payload = hex(digest::digest(&digest::SHA256, &request.body).as_ref());
    let parts = [
        request.method.as_str(),
        // A path is encoded as it was sent: what is encoded there is encoded twice here.
        &encode(path, "/"),
        &query.join("&"),
        &headers,
        &signed.headers.join(";"),
        &payload,
    ];
    parts.join("\n")
}

/// Everything but letters, digits, `-._~` and what is to be `kept`, as `%XX`.
fn encode(text: &str, kept: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if plain || kept.as_bytes().contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            write!(encoded, "%{byte:02X}").ok();
        }
    }
    encoded
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `20261122T120000Z` in milliseconds since the epoch.
pub(super) fn instant(date: &str) -> Option<Millis> {
    let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", date).ok()?;
    let time = time.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(time.timestamp().as_millisecond())
}

/// The same the other way round.
fn basic(at: Millis) -> String {
    let Ok(time) = jiff::Timestamp::from_millisecond(at) else { return String::new() };
    time.strftime("%Y%m%dT%H%M%SZ").to_string()
}
