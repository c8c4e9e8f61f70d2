//! URLs of services and queues, checked as far as a typing mistake would show.

use std::fmt;
use std::str::FromStr;

/// The form of a service's URL, for errors.
pub(super) const SERVICE_FORM: &str = "http:// or https://, a host, and no query";
/// The form of a queue's URL, for errors.
pub(super) const QUEUE_FORM: &str =
    "a queue's URL, such as https://sqs.eu-central-1.amazonaws.com/123456789012/ebbtide";
/// The form of the token service's URL, for errors.
pub(super) const STS_FORM: &str = "https:// and one of STS's own hosts, no path";

/// An absolute `http` or `https` URL with a host, without a query; without a slash at its end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Url(String);

impl Url {
    /// The URL as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Scheme, host with port, and path segments.
    fn parts(&self) -> (&str, &str, Vec<&str>) {
        let (scheme, rest) = self.0.split_once("://").unwrap_or_default();
        let mut segments = rest.split('/');
        let host = segments.next().unwrap_or_default();
        (scheme, host, segments.collect())
    }

    /// Whether it has the form of a queue's URL: at least an account and a name after the host.
    pub(super) fn is_queue(&self) -> bool {
        let (_, _, segments) = self.parts();
        segments.len() >= 2 && segments.iter().all(|segment| !segment.is_empty())
    }

    /// The host, if this is no more than `https://host`.
    pub(super) fn bare_https_host(&self) -> Option<&str> {
        let (scheme, host, segments) = self.parts();
        (scheme == "https" && segments.is_empty()).then_some(host)
    }
}

impl FromStr for Url {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.strip_suffix('/').unwrap_or(text);
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let host = rest.and_then(|rest| rest.split('/').next());
        let has_host = host.is_some_and(|host| !host.is_empty() && !host.starts_with(':'));
        // Neither a user nor a query belongs into a service's URL, and both could hold a secret.
        let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#' | b'@');
        if has_host && text.bytes().all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(SERVICE_FORM)
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(&self.0)
    }
}
