//! The table of the process's own settings: variable, default, form, reason.

use super::url::{QUEUE_FORM, SERVICE_FORM, STS_FORM, Url};
use super::{Config, LogFormat, LogLevel, Queues};
use cloud::{Endpoints, Region};
use decision::policy::{Policy, SettingError};

/// One setting of the process.
#[derive(Debug)]
pub struct Setting {
    /// Its environment variable.
    pub variable: &'static str,
    /// Its default, as text; empty where there is none.
    pub default: &'static str,
    /// The form of its value.
    pub form: &'static str,
    /// Why it is there, and why the default is what it is.
    pub why: &'static str,
    /// Parses a text into the draft; the error is the form expected.
    pub(super) apply: fn(&mut Draft, &str) -> Result<(), String>,
}

const REGION_FORM: &str = "a region, such as eu-central-1";
const KEY_FORM: &str = "an access key id (Lambda sets it from the function's role)";
const SECRET_FORM: &str = "a secret access key (Lambda sets it from the function's role)";
const CONCURRENCY_FORM: &str =
    "a whole number from 2 to 1000, the MaximumConcurrency of the event source mapping";
const BUS_FORM: &str = "the name or ARN of an event bus, such as default";
const LEVEL_FORM: &str = "TRACE, DEBUG, INFO, WARN or ERROR";
const FORMAT_FORM: &str = "Text or JSON";

/// All settings besides the policy's, in the order of the README's table.
pub const SETTINGS: &[Setting] = &[
    Setting {
        variable: "QUEUE_URL",
        default: "",
        form: QUEUE_FORM,
        why: "the queue that feeds the function, for giving messages back; leave it out only where \
              the function is invoked with bare events and has no queue",
        apply: |draft, text| queue(text).map(|url| draft.source = url),
    },
    Setting {
        variable: "DEAD_LETTER_QUEUE_URL",
        default: "",
        form: QUEUE_FORM,
        why: "where a message goes, with the reason, that is ours and can never work; required with \
              QUEUE_URL, since without it such a message would be received a thousand times first",
        apply: |draft, text| queue(text).map(|url| draft.dead_letter = url),
    },
    Setting {
        variable: "MAXIMUM_CONCURRENCY",
        default: "20",
        form: CONCURRENCY_FORM,
        why: "20 environments cordon a thousand nodes in five seconds; AWS's rate limits are the \
              account's, so each environment takes one part in so many of them: a number that is \
              lower than the mapping's throttles the load balancer controller too",
        apply: |draft, text| {
            let number = text.parse::<u16>().ok().filter(|number| (2..=1000).contains(number));
            number.map(|number| draft.concurrency = number).ok_or_else(|| CONCURRENCY_FORM.into())
        },
    },
    Setting {
        variable: "EVENT_BUS",
        default: "",
        form: BUS_FORM,
        why: "none: nothing is sent; otherwise a departure's beginning, its blockers and its end go to \
              this bus on EventBridge as events with the source ebbtide, and the role needs \
              events:PutEvents",
        apply: |draft, text| event_bus(text).map(|bus| draft.event_bus = bus),
    },
    Setting {
        variable: "AWS_LAMBDA_LOG_LEVEL",
        default: "INFO",
        form: LEVEL_FORM,
        why: "set by the function's logging configuration; closing lines and departure records, which \
              alarms and the dashboard read, are INFO",
        apply: |draft, text| log_level(text).map(|level| draft.log_level = Some(level)),
    },
    Setting {
        variable: "AWS_LAMBDA_LOG_FORMAT",
        default: "Text",
        form: FORMAT_FORM,
        why: "set by the function's logging configuration; alarms and the dashboard read JSON",
        apply: |draft, text| log_format(text).map(|format| draft.log_format = Some(format)),
    },
    Setting {
        variable: "AWS_REGION",
        default: "",
        form: REGION_FORM,
        why: "set by Lambda: function, groups, load balancers and clusters are in one region",
        apply: |draft, text| {
            if is_region(text) {
                draft.region = Some(Region::new(text.to_owned()));
                return Ok(());
            }
            Err(REGION_FORM.to_owned())
        },
    },
    Setting {
        variable: "AWS_ACCESS_KEY_ID",
        default: "",
        form: KEY_FORM,
        why: "set by Lambda, from the function's role",
        apply: |draft, text| present(text, KEY_FORM).map(|text| draft.key_id = Some(text)),
    },
    Setting {
        variable: "AWS_SECRET_ACCESS_KEY",
        default: "",
        form: SECRET_FORM,
        why: "set by Lambda, from the function's role",
        apply: |draft, text| present(text, SECRET_FORM).map(|text| draft.secret = Some(text)),
    },
    Setting {
        variable: "AWS_SESSION_TOKEN",
        default: "",
        form: "a session token",
        why: "set by Lambda; a user's own keys have none",
        apply: |draft, text| {
            draft.session_token = present(text, "").ok();
            Ok(())
        },
    },
    Setting {
        variable: "AWS_ENDPOINT_URL",
        default: "",
        form: SERVICE_FORM,
        why: "none: AWS's own endpoints; one URL for all services but STS, for interface endpoints and \
              the sandbox",
        apply: |draft, text| {
            service(text).map(|url| {
                draft.endpoints = url.map_or_else(Endpoints::default, |url| Endpoints::all(&url));
            })
        },
    },
    Setting {
        variable: "AWS_ENDPOINT_URL_AUTO_SCALING",
        default: "",
        form: SERVICE_FORM,
        why: ONE_SERVICE,
        apply: |draft, text| service(text).map(|url| put(&mut draft.endpoints.autoscaling, url)),
    },
    Setting {
        variable: "AWS_ENDPOINT_URL_EC2",
        default: "",
        form: SERVICE_FORM,
        why: ONE_SERVICE,
        apply: |draft, text| service(text).map(|url| put(&mut draft.endpoints.ec2, url)),
    },
    Setting {
        variable: "AWS_ENDPOINT_URL_EKS",
        default: "",
        form: SERVICE_FORM,
        why: ONE_SERVICE,
        apply: |draft, text| service(text).map(|url| put(&mut draft.endpoints.eks, url)),
    },
    Setting {
        variable: "AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2",
        default: "",
        form: SERVICE_FORM,
        why: ONE_SERVICE,
        apply: |draft, text| service(text).map(|url| put(&mut draft.endpoints.elbv2, url)),
    },
    Setting {
        variable: "AWS_ENDPOINT_URL_EVENTBRIDGE",
        default: "",
        form: SERVICE_FORM,
        why: ONE_SERVICE,
        apply: |draft, text| service(text).map(|url| put(&mut draft.endpoints.events, url)),
    },
    Setting {
        variable: "AWS_ENDPOINT_URL_SQS",
        default: "",
        form: SERVICE_FORM,
        why: ONE_SERVICE,
        apply: |draft, text| service(text).map(|url| put(&mut draft.endpoints.sqs, url)),
    },
    Setting {
        variable: "AWS_ENDPOINT_URL_STS",
        default: "",
        form: STS_FORM,
        why: "none: the region's own host; the tokens for API servers are presigned for it (no call is \
              made), and they accept only hosts of STS, such as the FIPS ones",
        apply: |draft, text| {
            if text.is_empty() {
                return Ok(());
            }
            let url: Option<Url> = text.parse().ok();
            let host = url.as_ref().and_then(Url::bare_https_host);
            host.map(|host| draft.sts_host = Some(host.to_owned())).ok_or_else(|| STS_FORM.into())
        },
    },
];

const ONE_SERVICE: &str =
    "none: what AWS_ENDPOINT_URL says; AWS's own name for one service's endpoint";

/// What was found so far.
#[derive(Default)]
pub(super) struct Draft {
    source: Option<Url>,
    dead_letter: Option<Url>,
    concurrency: u16,
    event_bus: Option<String>,
    log_level: Option<LogLevel>,
    log_format: Option<LogFormat>,
    region: Option<Region>,
    key_id: Option<String>,
    secret: Option<String>,
    session_token: Option<String>,
    endpoints: Endpoints,
    sts_host: Option<String>,
}

impl Draft {
    /// Mistakes that no setting makes alone, left out where one of the two is `named` as wrong already.
    pub(super) fn apart(&self, named: &[&str]) -> Vec<SettingError> {
        let (source, dead_letter) = ("QUEUE_URL", "DEAD_LETTER_QUEUE_URL");
        if named.contains(&source) || named.contains(&dead_letter) {
            return Vec::new();
        }
        let mistake = match (&self.source, &self.dead_letter) {
            (Some(_), None) => {
                let expected = format!("{QUEUE_FORM}, since {source} is set");
                SettingError::new(dead_letter, "", expected)
            }
            (None, Some(_)) => {
                let expected = format!("{QUEUE_FORM}, since {dead_letter} is set");
                SettingError::new(source, "", expected)
            }
            (Some(one), Some(other)) if one == other => SettingError::new(
                dead_letter,
                other.as_str(),
                format!("another queue than {source}"),
            ),
            (Some(_), Some(_)) | (None, None) => return Vec::new(),
        };
        vec![mistake]
    }

    /// The configuration, if nothing that it needs is missing.
    pub(super) fn finish(self, policy: Policy) -> Option<Config> {
        let (key_id, secret) = (self.key_id?, self.secret?);
        let queues = self.source.zip(self.dead_letter);
        Some(Config {
            policy,
            region: self.region?,
            credentials: cloud::clients::credentials(
                &key_id,
                &secret,
                self.session_token.as_deref(),
            ),
            endpoints: self.endpoints,
            sts_host: self.sts_host,
            queues: queues.map(|(source, dead_letter)| Queues { source, dead_letter }),
            concurrency: self.concurrency,
            event_bus: self.event_bus,
            log_level: self.log_level?,
            log_format: self.log_format?,
        })
    }
}

fn present(text: &str, form: &str) -> Result<String, String> {
    if text.is_empty() { Err(form.to_owned()) } else { Ok(text.to_owned()) }
}

fn service(text: &str) -> Result<Option<String>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(|url: Url| Some(url.as_str().to_owned())).map_err(str::to_owned)
}

fn queue(text: &str) -> Result<Option<Url>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let url: Option<Url> = text.parse().ok().filter(Url::is_queue);
    url.map(Some).ok_or_else(|| QUEUE_FORM.to_owned())
}

/// One service's URL goes before the general one, which is applied first.
fn put(endpoint: &mut Option<String>, url: Option<String>) {
    if url.is_some() {
        *endpoint = url;
    }
}

/// As EventBridge's own model has it: a name, which may stand at the end of an ARN. A partner's bus,
/// whose name has a slash in it, takes only the partner's events.
fn event_bus(text: &str) -> Result<Option<String>, String> {
    const NAME_BYTES_MAX: usize = 256;
    if text.is_empty() {
        return Ok(None);
    }
    let name = match text.strip_prefix("arn:") {
        Some(rest) => bus_of_arn(rest),
        None => Some(text),
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let is_name =
        |name: &str| (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(plain);
    if name.is_some_and(is_name) { Ok(Some(text.to_owned())) } else { Err(BUS_FORM.to_owned()) }
}

/// The bus of `aws:events:eu-central-1:123456789012:event-bus/ops`, an ARN after its first word.
fn bus_of_arn(rest: &str) -> Option<&str> {
    let parts: Vec<&str> = rest.split(':').collect();
    let [partition, "events", region, account, resource] = parts[..] else { return None };
    let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
    let is_arn = partition.starts_with("aws") && is_region(region) && is_account;
    resource.strip_prefix("event-bus/").filter(|_| is_arn)
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    match text.to_ascii_uppercase().as_str() {
        "TEXT" => Ok(LogFormat::Text),
        "JSON" => Ok(LogFormat::Json),
        _ => Err(FORMAT_FORM.to_owned()),
    }
}

fn log_level(text: &str) -> Result<LogLevel, String> {
    match text.to_ascii_uppercase().as_str() {
        "ERROR" => Ok(LogLevel::Error),
        "WARN" => Ok(LogLevel::Warn),
        "INFO" => Ok(LogLevel::Info),
        "DEBUG" => Ok(LogLevel::Debug),
        "TRACE" => Ok(LogLevel::Trace),
        _ => Err(LEVEL_FORM.to_owned()),
    }
}

/// `eu-central-1`, `us-gov-west-1`, `eusc-de-east-1`: words and a number, with hyphens between.
fn is_region(text: &str) -> bool {
    let mut parts: Vec<&str> = text.split('-').collect();
    let number = parts.pop().unwrap_or_default();
    let word = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase());
    parts.len() >= 2
        && parts.iter().all(word)
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
}
