//! STS, as far as GetCallerIdentity goes: access keys, and whose they are.
//!
//! An account without keys takes every request and never looks at its signature: that is how worlds in
//! one process are. Once it has a key, callers are told apart by theirs; over HTTP their signatures are
//! checked too, and others are refused.

use super::protocol::{Refusal, Xml};
use super::{Aws, Request};
use crate::world::{Millis, World};
use std::collections::BTreeMap;

/// An access key.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its secret: what it signs with.
    pub secret: String,
    /// The token that each request of its session carries; `None`: a user's key, which has none.
    pub session_token: Option<String>,
    /// Whose it is: `arn:aws:sts::123456789012:assumed-role/ROLE/SESSION`.
    pub arn: String,
    /// The process that it was made for, so that calls are known by their makers.
    pub process: u32,
    /// When its session ends; `None`: a user's key, which never expires.
    pub expires_at: Option<Millis>,
}

/// All access keys by id.
#[derive(Clone, Debug)]
pub struct Sts {
    /// Keys by id; none: nobody is checked.
    pub keys: BTreeMap<String, Key>,
    /// How long a request to STS is valid from its signing on, whatever a presigned one says: 15 minutes, for
    /// the tokens of API servers too.
    pub token_valid_ms: Millis,
}

impl Default for Sts {
    fn default() -> Self {
        Self { keys: BTreeMap::new(), token_valid_ms: 900_000 }
    }
}

impl Sts {
    /// Adds a key that acts as the role `role`, without a session token, which never expires.
    pub fn add_key(world: &mut World, (id, secret): (&str, &str), role: &str, process: u32) {
        let arn = session_arn(&world.aws, role, role);
        let (secret, session_token) = (secret.to_owned(), None);
        let key = Key { secret, session_token, arn, process, expires_at: None };
        world.aws.sts.keys.insert(id.to_owned(), key);
    }

    /// Adds the key of a session of the role `role`, with its token; it never expires.
    pub fn add_session(
        world: &mut World,
        (id, secret, token): (&str, &str, &str),
        role: &str,
        process: u32,
    ) {
        Self::add_key(world, (id, secret), role, process);
        if let Some(key) = world.aws.sts.keys.get_mut(id) {
            key.session_token = Some(token.to_owned());
        }
    }

    /// The ARN of whoever makes this request.
    pub(crate) fn caller(aws: &Aws, request: &Request) -> String {
        let key = access_key(request).and_then(|id| aws.sts.keys.get(&id));
        key.map_or_else(|| session_arn(aws, "ebbtide", "ebbtide"), |key| key.arn.clone())
    }
}

/// The credential scope of a request's signature, which begins with the access key's id.
pub(crate) fn credential(request: &Request) -> Option<String> {
    if let Some(header) = request.headers.get("authorization") {
        let scope = header.split("Credential=").nth(1)?.split(',').next()?;
        return Some(scope.trim().to_owned());
    }
    let (_, query) = request.path.split_once('?')?;
    let mut query = form_urlencoded::parse(query.as_bytes());
    query.find(|(name, _)| name == "X-Amz-Credential").map(|(_, scope)| scope.into_owned())
}

/// The session token that a request carries.
#[cfg(feature = "serve")]
pub(crate) fn session_token(request: &Request) -> Option<String> {
    if request.headers.contains_key("authorization") {
        return request.headers.get("x-amz-security-token").cloned();
    }
    let (_, query) = request.path.split_once('?')?;
    let mut query = form_urlencoded::parse(query.as_bytes());
    query.find(|(name, _)| name == "X-Amz-Security-Token").map(|(_, token)| token.into_owned())
}

/// The access key that signed a request.
pub(crate) fn access_key(request: &Request) -> Option<String> {
    Some(credential(request)?.split('/').next()?.to_owned())
}

pub(super) fn serve(aws: &Aws, action: &str, request: &Request) -> Result<String, Refusal> {
    if action != "GetCallerIdentity" {
        let message = format!("Could not find operation {action} for version 2011-06-15");
        return Err(Refusal::new(400, "InvalidAction", message));
    }
    let arn = Sts::caller(aws, request);
    let mut xml = Xml::default();
    xml.leaf("Arn", &arn).leaf("UserId", user_id(&arn)).leaf("Account", &aws.account);
    Ok(xml.into_text())
}

/// A role's unique id and the session's name, or a user's unique id.
pub(crate) fn user_id(arn: &str) -> String {
    let mut path = arn.rsplit(':').next().unwrap_or_default().split('/');
    let (kind, name) = (path.next().unwrap_or_default(), path.next().unwrap_or_default());
    // Ids have 21 characters; each name has always the same.
    let digits: String = name.bytes().map(|byte| format!("{byte:02X}")).collect();
    let id: String = digits.chars().chain("0".repeat(17).chars()).take(17).collect();
    match path.next() {
        Some(session) if kind == "assumed-role" => format!("AROA{id}:{session}"),
        _ => format!("AIDA{id}"),
    }
}

fn session_arn(aws: &Aws, role: &str, session: &str) -> String {
    format!("arn:aws:sts::{}:assumed-role/{role}/{session}", aws.account)
}
