//! The names of things: an id is parsed once at the border and is then known to be well formed.
//!
//! Each id is a newtype over `String` that only `parse` can make. What `parse` accepts is what the
//! service that hands the id out documents, and no narrower: an id that we refuse is a departure
//! that nobody handles. A `HookToken` is a capability (who holds it can answer the hook), so it is
//! never printed and never serialized.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// How much of a value an error shows: enough to recognise it, too little to fill a log line.
const SHOWN_CHARACTERS_MAX: usize = 60;

/// A value that is not what it should be: what it is, the value seen (shortened), the form expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} `{value}`: expected {expected}")]
pub struct IdError {
    /// What was to be parsed, without an article: `instance id`.
    pub what: &'static str,
    /// The value seen, shortened; of a hook token only its length.
    pub value: String,
    /// The form expected, as a phrase: `i- and 8 or 17 hexadecimal digits`.
    pub expected: &'static str,
}

/// A value as an error shows it: at most 60 characters, control characters escaped.
pub(crate) fn shorten(value: &str) -> String {
    let mut characters = value.chars();
    let mut shown = String::new();
    for character in characters.by_ref().take(SHOWN_CHARACTERS_MAX) {
        if character.is_control() {
            shown.extend(character.escape_debug());
        } else {
            shown.push(character);
        }
    }
    if characters.next().is_some() {
        shown.push('…');
    }
    shown
}

/// The part that all ids share: parse through a check, and read as text.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:path, $shown:path, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Takes the text if it has the form of this id.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                if $check(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(IdError { what: $what, value: $shown(text), expected: $expected })
                }
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::parse(text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
            }
        }
    };
}

/// An id that may be seen: text in, the same text out.
macro_rules! open_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:path, $expected:literal) => {
        id!($(#[$doc])* $name, $what, $check, shorten, $expected);

        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.debug_tuple(stringify!($name)).field(&self.0).finish()
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
    };
}

open_id!(
    /// An EC2 instance id: `i-` and 8 or 17 hexadecimal digits. Documentation samples such as
    /// `i-abcd1111` and ids of other lengths pass too: only EC2 says which ids exist.
    InstanceId,
    "instance id",
    is_instance_id,
    "i- and 8 or 17 hexadecimal digits"
);
open_id!(
    /// The name of an Auto Scaling group: 1 to 255 characters, no control characters, no colon.
    AsgName,
    "Auto Scaling group name",
    is_asg_name,
    "1 to 255 characters without colons and control characters"
);
open_id!(
    /// The name of a lifecycle hook: `[A-Za-z0-9\-_/]{1,255}` in the Auto Scaling model.
    HookName,
    "hook name",
    is_hook_name,
    "1 to 255 letters, digits, hyphens, underscores and slashes"
);
open_id!(
    /// The id of a capacity reservation: `cr-` and hexadecimal digits.
    ReservationId,
    "capacity reservation id",
    is_reservation_id,
    "cr- and hexadecimal digits"
);
open_id!(
    /// The name of an EKS cluster: `[0-9A-Za-z][A-Za-z0-9\-_]{0,99}` in the EKS model.
    ClusterName,
    "cluster name",
    is_cluster_name,
    "1 to 100 letters, digits, hyphens and underscores, a letter or digit first"
);
open_id!(
    /// The name of a Kubernetes node: a DNS subdomain (RFC 1123) of at most 253 characters.
    NodeName,
    "node name",
    is_node_name,
    "a DNS subdomain: at most 253 lower-case letters, digits, hyphens and dots"
);
open_id!(
    /// `metadata.uid` of a Kubernetes object: opaque text, in practice a UUID.
    Uid,
    "uid",
    is_opaque,
    "1 to 128 printable characters without spaces"
);
open_id!(
    /// `status.nodeInfo.bootID` of a node: opaque text, in practice a UUID. New with each boot.
    BootId,
    "boot id",
    is_opaque,
    "1 to 128 printable characters without spaces"
);
open_id!(
    /// The ARN of a target group:
    /// `arn:aws:elasticloadbalancing:REGION:ACCOUNT:targetgroup/NAME/ID`, in any partition.
    TargetGroupArn,
    "target group ARN",
    is_target_group_arn,
    "arn:aws:elasticloadbalancing:REGION:ACCOUNT:targetgroup/NAME/ID"
);

id!(
    /// The token of one lifecycle action, 36 characters in the Auto Scaling model. Secret: no
    /// Display, no Serialize, and Debug shows only the length.
    HookToken,
    "hook token",
    is_hook_token,
    length_only,
    "36 letters, digits and hyphens"
);

impl HookToken {
    /// The token itself, for the request that answers the hook and for nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// 16 hexadecimal digits that tell one token from another (64-bit FNV-1a): for the annotation
    /// on the node, where the token itself must not be read.
    pub fn fingerprint(&self) -> String {
        const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
        const PRIME: u64 = 0x0000_0100_0000_01b3;
        let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(PRIME);
        format!("{:016x}", self.0.bytes().fold(OFFSET, step))
    }
}

impl fmt::Debug for HookToken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "HookToken({})", length_only(&self.0))
    }
}

/// A pod by namespace and name, `ns/name` for people. The same name may come back with another uid.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PodKey {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name within the namespace.
    pub name: String,
}

impl fmt::Display for PodKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.namespace, self.name)
    }
}

impl FromStr for PodKey {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        match text.split_once('/') {
            Some((namespace, name))
                if !namespace.is_empty() && !name.is_empty() && !name.contains('/') =>
            {
                Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => Err(IdError { what: "pod", value: shorten(text), expected: "namespace/name" }),
        }
    }
}

fn is_instance_id(text: &str) -> bool {
    let Some(digits) = text.strip_prefix("i-") else { return false };
    (1..=32).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn is_reservation_id(text: &str) -> bool {
    let Some(digits) = text.strip_prefix("cr-") else { return false };
    (1..=32).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn is_asg_name(text: &str) -> bool {
    (1..=255).contains(&text.chars().count())
        && text.chars().all(|character| character != ':' && !character.is_control())
}

fn is_hook_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'/');
    (1..=255).contains(&text.len()) && text.bytes().all(allowed)
}

fn is_hook_token(text: &str) -> bool {
    text.len() == 36 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn is_cluster_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    text.len() <= 100
        && text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
        && text.bytes().all(allowed)
}

fn is_node_name(text: &str) -> bool {
    let edge = |byte: Option<&u8>| {
        byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    let label = |label: &str| {
        edge(label.as_bytes().first())
            && edge(label.as_bytes().last())
            && label.bytes().all(|byte| edge(Some(&byte)) || byte == b'-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

fn is_opaque(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_target_group_arn(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let [arn, partition, service, region, account, resource] = parts[..] else { return false };
    let path: Vec<&str> = resource.split('/').collect();
    arn == "arn"
        && partition.starts_with("aws")
        && service == "elasticloadbalancing"
        && !region.is_empty()
        && account.len() == 12
        && account.bytes().all(|byte| byte.is_ascii_digit())
        && matches!(path[..], ["targetgroup", name, id] if is_opaque(name) && is_opaque(id))
        && text.len() <= 512
}

fn length_only(text: &str) -> String {
    format!("{} characters", text.chars().count())
}
