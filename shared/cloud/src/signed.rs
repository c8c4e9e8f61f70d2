//! Services that we call without their SDK crates: a crate takes minutes and gigabytes to compile and
//! megabytes of binary, and we need one or two calls of it.
//!
//! ```text
//! body ─> aws-sigv4 signs it ─> the SDK's own orchestrator sends it ─> body of the answer, or a refusal
//! ```
//!
//! It goes over the same HTTP client as the SDK's calls, under the same timeouts and without retries.
//! What the body says, and how a refusal reads, is each service's own matter.

use crate::clients::{Settings, behavior, sleep, timeouts};
use crate::error::{Call, CloudError};
use crate::partition::dns_suffix;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sdk_sqs::config::StalledStreamProtectionConfig;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_async::time::SharedTimeSource;
use aws_smithy_runtime::client::orchestrator::operation::Operation;
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse, OrchestratorError};
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::error::metadata::{ErrorMetadata, ProvideErrorMetadata};
use aws_types::region::Region;
use std::fmt;

/// What one service's calls have in common.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    /// Its name in signatures, which is the first word of its host too.
    pub(crate) name: &'static str,
    /// Where it is, if not at AWS.
    pub(crate) endpoint: Option<String>,
    /// Headers of every request, in lower case; all of them are signed.
    pub(crate) headers: &'static [(&'static str, &'static str)],
    /// Code and message of an answer other than 200, with its body as text. Something in between (a
    /// proxy, a load balancer) may answer with another body, or none.
    pub(crate) refusal: fn(&HttpResponse, &str) -> ErrorMetadata,
}

/// A client that signs and sends: POST to the root, text in, text out.
#[derive(Clone, Debug)]
pub(crate) struct Signed {
    service: Service,
    region: Region,
    credentials: SharedCredentialsProvider,
    time: SharedTimeSource,
    /// With one slash at the end.
    url: String,
    wire: Operation<HttpRequest, String, ServiceError>,
}

impl Signed {
    /// Builds the client; makes no call.
    pub(crate) fn new(settings: &Settings, service: Service) -> Self {
        let region = settings.region.clone();
        let host = || format!("https://{}.{region}.{}", service.name, dns_suffix(region.as_ref()));
        let url = service.endpoint.clone().unwrap_or_else(host);
        let url = format!("{}/", url.trim_end_matches('/'));
        let refusal = service.refusal;
        let wire = Operation::builder()
            .service_name(service.name)
            .operation_name("signed")
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
            .deserializer(move |response: &HttpResponse| body(response, refusal))
            .build();
        let credentials = settings.credentials.clone();
        Self { service, region, credentials, time: settings.time.clone(), url, wire }
    }

    /// Sends one body and returns that of the answer.
    pub(crate) async fn send(&self, call: &Call, body: &str) -> Result<String, CloudError> {
        let credentials = self.credentials.provide_credentials().await;
        let identity = credentials.map_err(|error| call.unsent(error))?.into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(self.region.as_ref())
            .name(self.service.name)
            .time(self.time.now())
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| call.unsent(error))?
            .into();
        let headers = self.service.headers.iter().copied();
        let signable = SignableBody::Bytes(body.as_bytes());
        let signable = SignableRequest::new("POST", &self.url, headers, signable);
        let signed = sign(signable.map_err(|error| call.unsent(error))?, &params);
        let (instructions, _) = signed.map_err(|error| call.unsent(error))?.into_parts();

        // Only the path: the orchestrator puts the endpoint in front of it.
        let mut request = http::Request::post("/");
        for (name, value) in self.service.headers {
            request = request.header(*name, *value);
        }
        let request = request.body(SdkBody::from(body));
        let mut request = request.map_err(|error| call.unsent(error))?;
        instructions.apply_to_request_http1x(&mut request);
        let request = HttpRequest::try_from(request).map_err(|error| call.unsent(error))?;
        self.wire.invoke(request).await.map_err(|error| call.failed(error))
    }
}

/// An answer other than 200. Its code and message are those of the body, as far as it has them.
#[derive(Debug)]
struct ServiceError(ErrorMetadata);

impl fmt::Display for ServiceError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

impl std::error::Error for ServiceError {}

impl ProvideErrorMetadata for ServiceError {
    fn meta(&self) -> &ErrorMetadata {
        &self.0
    }
}

/// The body of a good answer as text, or what the service says went wrong.
fn body(
    response: &HttpResponse,
    refusal: fn(&HttpResponse, &str) -> ErrorMetadata,
) -> Result<String, OrchestratorError<ServiceError>> {
    let bytes = response.body().bytes().unwrap_or_default();
    let text = String::from_utf8_lossy(bytes).into_owned();
    if response.status().is_success() {
        Ok(text)
    } else {
        Err(OrchestratorError::operation(ServiceError(refusal(response, &text))))
    }
}
