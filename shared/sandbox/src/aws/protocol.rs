//! The protocols of the services, as their SDK clients speak them.
//!
//! Auto Scaling, ELBv2 and STS speak awsQuery (a form in, XML out), EC2 its own dialect of that, SQS AWS
//! JSON 1.0, EventBridge AWS JSON 1.1 and EKS REST-JSON. Errors have a different body in each; the code is what clients branch on.

use super::{Request, Response, sts};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A service of the account.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Service {
    /// EC2 Auto Scaling.
    Autoscaling,
    /// EC2.
    Ec2,
    /// EKS.
    Eks,
    /// Elastic Load Balancing v2.
    Elb,
    /// EventBridge.
    Events,
    /// SQS.
    Sqs,
    /// STS.
    Sts,
}

impl Service {
    /// The prefix of its actions in IAM, which is also its name in the credential scope.
    pub fn name(self) -> &'static str {
        match self {
            Self::Autoscaling => "autoscaling",
            Self::Ec2 => "ec2",
            Self::Eks => "eks",
            Self::Elb => "elasticloadbalancing",
            Self::Events => "events",
            Self::Sqs => "sqs",
            Self::Sts => "sts",
        }
    }

    /// Which service a request is for: the host's first label, or the scope of its signature, which stands in a
    /// header or, where the request was signed ahead, in the query.
    pub fn of(request: &Request) -> Option<Self> {
        let label = request.host.split('.').next().unwrap_or_default();
        Self::from_name(label)
            .or_else(|| Self::from_name(sts::credential(request)?.split('/').nth(3)?))
    }

    fn from_name(name: &str) -> Option<Self> {
        const ALL: [Service; 7] = [
            Service::Autoscaling,
            Service::Ec2,
            Service::Eks,
            Service::Elb,
            Service::Events,
            Service::Sqs,
            Service::Sts,
        ];
        ALL.into_iter().find(|service| service.name() == name)
    }

    fn namespace(self) -> &'static str {
        match self {
            Self::Autoscaling => "http://autoscaling.amazonaws.com/doc/2011-01-01/",
            Self::Elb => "http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/",
            Self::Sts => "https://sts.amazonaws.com/doc/2011-06-15/",
            Self::Ec2 | Self::Eks | Self::Events | Self::Sqs => {
                "http://ec2.amazonaws.com/doc/2016-11-15/"
            }
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Autoscaling | Self::Elb | Self::Sts => "text/xml",
            Self::Ec2 => "text/xml;charset=UTF-8",
            Self::Eks => "application/json",
            Self::Events => "application/x-amz-json-1.1",
            Self::Sqs => "application/x-amz-json-1.0",
        }
    }
}

/// An error answer, before it is put into the service's own words.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// The code that clients branch on.
    pub code: String,
    /// The sentence for people.
    pub message: String,
}

impl Refusal {
    /// A refusal with its status, code and message.
    pub fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self { status, code: code.to_owned(), message: message.into() }
    }

    /// awsQuery's 400 for parameters that make no sense.
    pub(crate) fn validation(message: impl Into<String>) -> Self {
        Self::new(400, "ValidationError", message)
    }

    /// What each service says to an action that it does not have.
    pub(crate) fn unknown_action(action: &str) -> Self {
        let message = format!("The action {action} is not valid for this web service.");
        Self::new(400, "InvalidAction", message)
    }
}

/// A form, with the list notation of awsQuery (`Names.member.1`) and EC2 (`InstanceId.1`).
#[derive(Clone, Debug, Default)]
pub struct Form(BTreeMap<String, String>);

impl Form {
    /// Reads a form body.
    pub fn parse(body: &[u8]) -> Self {
        Self(form_urlencoded::parse(body).into_owned().collect())
    }

    /// Reads a request's form: its body, or the query of a GET.
    pub(crate) fn of(request: &Request) -> Self {
        match request.path.split_once('?') {
            Some((_, query)) if request.method == "GET" => Self::parse(query.as_bytes()),
            _ => Self::parse(&request.body),
        }
    }

    /// One value; empty counts as absent.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A value that must be there.
    pub fn required(&self, key: &str) -> Result<&str, Refusal> {
        self.get(key).ok_or_else(|| {
            let field = key.chars().next().map(|first| first.to_ascii_lowercase());
            let rest = key.chars().skip(1).collect::<String>();
            let name = field.map(|first| format!("{first}{rest}")).unwrap_or_default();
            Refusal::validation(format!(
                "1 validation error detected: Value null at '{name}' failed to satisfy constraint: Member must not be null"
            ))
        })
    }

    /// All values of a list, in order; `list` ends in `.member` for awsQuery.
    pub fn list(&self, list: &str) -> Vec<&str> {
        (1..).map_while(|index| self.get(&format!("{list}.{index}"))).collect()
    }

    /// The prefixes `list.1`, `list.2`, … for which `field` is there.
    pub fn structures(&self, list: &str, field: &str) -> Vec<String> {
        (1..)
            .map(|index| format!("{list}.{index}"))
            .take_while(|prefix| self.get(&format!("{prefix}.{field}")).is_some())
            .collect()
    }

    /// The first parameter that says what the call is about.
    pub(crate) fn subject(&self) -> String {
        const KEYS: [&str; 9] = [
            "TargetGroupArn",
            "TargetGroupArns.member.1",
            "InstanceId",
            "AutoScalingGroupName",
            "AutoScalingGroupNames.member.1",
            "InstanceIds.member.1",
            "InstanceId.1",
            "Filter.1.Value.1",
            "Names.member.1",
        ];
        KEYS.iter().find_map(|key| self.get(key)).unwrap_or_default().to_owned()
    }
}

/// XML under construction.
#[derive(Debug, Default)]
pub struct Xml {
    text: String,
}

impl Xml {
    /// `<tag>value</tag>`, escaped.
    pub fn leaf(&mut self, tag: &str, value: impl AsRef<str>) -> &mut Self {
        self.open(tag);
        self.text.push_str(&escape(value.as_ref()));
        self.close(tag)
    }

    /// XML that is written already.
    pub(crate) fn raw(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// `<tag>…</tag>` around what `inner` writes.
    pub fn node(&mut self, tag: &str, inner: impl FnOnce(&mut Self)) -> &mut Self {
        self.open(tag);
        inner(self);
        self.close(tag)
    }

    /// A list: `<tag><member>…</member>…</tag>`, with the service's own word for `member`.
    pub fn list<T>(
        &mut self,
        (tag, member): (&str, &str),
        items: impl IntoIterator<Item = T>,
        mut each: impl FnMut(&mut Self, T),
    ) -> &mut Self {
        self.open(tag);
        for item in items {
            self.node(member, |xml| each(xml, item));
        }
        self.close(tag)
    }

    /// A list of plain values.
    pub fn values<T: AsRef<str>>(
        &mut self,
        (tag, member): (&str, &str),
        values: impl IntoIterator<Item = T>,
    ) -> &mut Self {
        self.open(tag);
        for value in values {
            self.leaf(member, value);
        }
        self.close(tag)
    }

    /// What was written.
    pub fn into_text(self) -> String {
        self.text
    }

    fn open(&mut self, tag: &str) {
        self.text.push('<');
        self.text.push_str(tag);
        self.text.push('>');
    }

    fn close(&mut self, tag: &str) -> &mut Self {
        self.text.push_str("</");
        self.text.push_str(tag);
        self.text.push('>');
        self
    }
}

/// The answer of an action that succeeded; `body` is the inner XML, or the JSON text.
pub(crate) fn success(service: Service, action: &str, body: &str, request_id: &str) -> Response {
    let namespace = service.namespace();
    let text = match service {
        Service::Autoscaling | Service::Elb | Service::Sts => {
            format!(
                "<{action}Response xmlns=\"{namespace}\"><{action}Result>{body}</{action}Result>\
                 <ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{action}Response>"
            )
        }
        Service::Ec2 => format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{action}Response xmlns=\"{namespace}\">\
             <requestId>{request_id}</requestId>{body}</{action}Response>"
        ),
        Service::Eks | Service::Events | Service::Sqs => body.to_owned(),
    };
    respond(service, 200, text, request_id)
}

/// The answer of an action that was refused, in the service's own words.
pub(crate) fn failure(service: Service, refusal: &Refusal, request_id: &str) -> Response {
    let Refusal { status, code, message } = refusal;
    let fault = if *status < 500 { "Sender" } else { "Receiver" };
    let escaped = escape(message);
    let text = match service {
        Service::Autoscaling | Service::Elb | Service::Sts => format!(
            "<ErrorResponse xmlns=\"{}\"><Error><Type>{fault}</Type><Code>{code}</Code><Message>{escaped}</Message></Error>\
             <RequestId>{request_id}</RequestId></ErrorResponse>",
            service.namespace()
        ),
        Service::Ec2 => format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>{code}</Code>\
             <Message>{escaped}</Message></Error></Errors><RequestID>{request_id}</RequestID></Response>"
        ),
        Service::Eks | Service::Events => {
            serde_json::json!({ "__type": code, "message": message }).to_string()
        }
        Service::Sqs => {
            let shape = sqs_shape(code);
            serde_json::json!({ "__type": format!("com.amazonaws.sqs#{shape}"), "message": message }).to_string()
        }
    };
    let mut response = respond(service, *status, text, request_id);
    match service {
        Service::Eks => response.headers.push(("x-amzn-errortype", code.clone())),
        Service::Sqs => response.headers.push(("x-amzn-query-error", format!("{code};{fault}"))),
        Service::Autoscaling | Service::Ec2 | Service::Elb | Service::Events | Service::Sts => {}
    }
    response
}

/// Milliseconds as the ISO 8601 text that the services use.
pub fn iso(at: crate::Millis) -> String {
    let Ok(time) = jiff::Timestamp::from_millisecond(at) else { return String::new() };
    time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

fn respond(service: Service, status: u16, text: String, request_id: &str) -> Response {
    Response {
        status,
        content_type: service.content_type(),
        headers: vec![("x-amzn-requestid", request_id.to_owned())],
        body: text.into_bytes(),
    }
}

/// The shape that AWS JSON names where the query protocol had an older, longer code.
fn sqs_shape(code: &str) -> &str {
    match code {
        "AWS.SimpleQueueService.NonExistentQueue" => "QueueDoesNotExist",
        "InvalidParameterValue" => "InvalidParameterValueException",
        "AccessDenied" => "AccessDeniedException",
        other => other.strip_prefix("AWS.SimpleQueueService.").unwrap_or(other),
    }
}

fn escape(text: &str) -> Cow<'_, str> {
    let special = |byte: &u8| matches!(byte, b'&' | b'<' | b'>' | b'"' | b'\'');
    if !text.as_bytes().iter().any(special) {
        return Cow::Borrowed(text);
    }
    let escaped = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&apos;");
    Cow::Owned(escaped)
}
