//! EC2, without its SDK: the crate takes minutes and gigabytes to compile, and we need one call.
//!
//! The request is a form that aws-sigv4 signs; the SDK's own orchestrator sends it over the same HTTP
//! client, under the same timeouts and without retries, and `xml` reads the answer.
//!
//! Instances are asked for by the *filter* `instance-id`: with the parameter `InstanceId`, one id that
//! EC2 no longer knows would fail the whole request.

use crate::autoscaling::more;
use crate::clients::{Settings, behavior, sleep, timeouts};
use crate::error::{Call, CloudError};
use crate::partition::dns_suffix;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sdk_sqs::config::StalledStreamProtectionConfig;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_async::time::SharedTimeSource;
use aws_smithy_runtime::client::orchestrator::operation::Operation;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use aws_types::region::Region;
use decision::id::InstanceId;
use decision::snapshot::aws::Instance;
use form_urlencoded::Serializer;
use std::collections::BTreeMap;

mod xml;

/// Values in one filter: what EC2 takes at most.
const FILTER_VALUES_MAX: usize = 200;

/// Instances on one page: what EC2 gives at most. Without it there is one page of any size.
const PAGE_INSTANCES_MAX: &str = "1000";

/// Pages of one list. 200 ids fit into one, but EC2 may give half-empty ones; the bound ends a list
/// that never ends.
const PAGES_MAX: usize = 10;

/// The version of the EC2 API whose answers `xml` reads.
const API_VERSION: &str = "2016-11-15";

const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";

/// What calls EC2.
#[derive(Clone, Debug)]
pub struct Ec2 {
    region: Region,
    credentials: SharedCredentialsProvider,
    time: SharedTimeSource,
    /// With one slash at the end.
    url: String,
    wire: Operation<HttpRequest, String, xml::ServiceError>,
}

impl Ec2 {
    /// Builds the client; makes no call.
    pub fn new(settings: &Settings) -> Self {
        let region = settings.region.clone();
        let host = || format!("https://ec2.{region}.{}", dns_suffix(region.as_ref()));
        let url = settings.endpoints.ec2.clone().unwrap_or_else(host);
        let url = format!("{}/", url.trim_end_matches('/'));
        let wire = Operation::builder()
            .service_name("ec2")
            .operation_name("query")
            .behavior_version(behavior())
            .http_client(settings.http.clone())
            .endpoint_url(&url)
            .no_auth()
            .no_retry()
            .timeout_config(timeouts())
            .sleep_impl(sleep())
            .time_source(settings.time.clone())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .serializer(|signed: HttpRequest| Ok(signed))
            .deserializer(xml::body)
            .build();
        let credentials = settings.credentials.clone();
        Self { region, credentials, time: settings.time.clone(), url, wire }
    }

    /// Sends one form and returns the body of the answer.
    async fn query(&self, call: &Call, form: &str) -> Result<String, CloudError> {
        let credentials = self.credentials.provide_credentials().await;
        let identity = credentials.map_err(|error| call.unsent(error))?.into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(self.region.as_ref())
            .name("ec2")
            .time(self.time.now())
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| call.unsent(error))?
            .into();
        let headers = [("content-type", FORM)].into_iter();
        let body = SignableBody::Bytes(form.as_bytes());
        let signable = SignableRequest::new("POST", &self.url, headers, body);
        let signed = sign(signable.map_err(|error| call.unsent(error))?, &params);
        let (instructions, _) = signed.map_err(|error| call.unsent(error))?.into_parts();

        // Only the path: the orchestrator puts the endpoint in front of it.
        let request = http::Request::post("/").header(http::header::CONTENT_TYPE, FORM);
        let request = request.body(SdkBody::from(form));
        let mut request = request.map_err(|error| call.unsent(error))?;
        instructions.apply_to_request_http1x(&mut request);
        let request = HttpRequest::try_from(request).map_err(|error| call.unsent(error))?;
        self.wire.invoke(request).await.map_err(|error| call.failed(error))
    }
}

/// DescribeInstances: state, name, tags and start of each instance. Those that EC2 does not know (any
/// more) are not in the answer.
pub async fn instances(
    ec2: &Ec2,
    ids: &[InstanceId],
) -> Result<BTreeMap<InstanceId, Instance>, CloudError> {
    let mut found = BTreeMap::new();
    for chunk in ids.chunks(FILTER_VALUES_MAX) {
        let call = Call::about("describe instances", chunk);
        let mut next = None;
        for page in 1.. {
            let answer = ec2.query(&call, &describe_instances(chunk, next.as_deref())).await?;
            let (instances, token) =
                xml::instances(&answer).map_err(|error| call.unreadable(error))?;
            found.extend(instances.into_iter().map(|instance| (instance.id.clone(), instance)));
            next = more(token, page, PAGES_MAX).map_err(|error| call.unreadable(error))?;
            if next.is_none() {
                break;
            }
        }
    }
    Ok(found)
}

fn describe_instances(ids: &[InstanceId], next: Option<&str>) -> String {
    let mut form = Serializer::new(String::new());
    form.append_pair("Action", "DescribeInstances");
    form.append_pair("Version", API_VERSION);
    form.append_pair("Filter.1.Name", "instance-id");
    for (index, id) in ids.iter().enumerate() {
        form.append_pair(&format!("Filter.1.Value.{}", index + 1), id.as_str());
    }
    form.append_pair("MaxResults", PAGE_INSTANCES_MAX);
    if let Some(next) = next {
        form.append_pair("NextToken", next);
    }
    form.finish()
}
