//! The clients, built by hand once per process: single attempts, short timeouts, one TLS stack.
//!
//! Nothing is looked up here. Region, credentials and endpoints are handed in (one place reads the
//! environment), and so are the HTTP client and the clock, which tests replace.

use crate::ec2::Ec2;
use crate::events::Events;
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_sqs::config::{BehaviorVersion, IdentityCache, StalledStreamProtectionConfig};
use aws_smithy_async::rt::sleep::{SharedAsyncSleep, TokioSleep};
use aws_smithy_async::time::SharedTimeSource;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::SdkConfig;
use aws_types::region::Region;
use std::time::Duration;

/// The longest that one call takes, all in. Twice as long, and a silent service eats a tenth of a Spot
/// notice with two calls; half of it, and a slow but living control plane counts as dead.
pub const OPERATION_TIMEOUT: Duration = Duration::from_millis(3000);

/// The longest wait for the one attempt. It lies below [`OPERATION_TIMEOUT`] so that the error says
/// that the service was silent, and not that we were slow to send.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(2500);

/// The longest wait for a connection. Within a region it takes milliseconds: twice as long would leave
/// too little of the attempt for the answer, half of it would fail when one packet is lost (1 s until
/// the first SYN is sent again).
pub const CONNECT_TIMEOUT: Duration = Duration::from_millis(1500);

/// How long an idle connection is kept. AWS closes idle ones after 20 s and more, and a thawed
/// environment finds them dead; half of it would shake hands anew between two turns.
pub const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// What the clients are built from.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The region, `eu-central-1`.
    pub region: Region,
    /// Asked before each call: nothing caches what it returns.
    pub credentials: SharedCredentialsProvider,
    /// The wire: [`http_client`] in production.
    pub http: SharedHttpClient,
    /// Where the services are, if not at AWS.
    pub endpoints: Endpoints,
    /// The clock that requests are signed by.
    pub time: SharedTimeSource,
}

/// A URL per service in place of AWS's own, as the environment variables that AWS's SDKs agree on say
/// it: `AWS_ENDPOINT_URL` for all, `AWS_ENDPOINT_URL_<SERVICE>` for one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// `AWS_ENDPOINT_URL_AUTO_SCALING`
    pub autoscaling: Option<String>,
    /// `AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2`
    pub elbv2: Option<String>,
    /// `AWS_ENDPOINT_URL_EKS`
    pub eks: Option<String>,
    /// `AWS_ENDPOINT_URL_SQS`
    pub sqs: Option<String>,
    /// `AWS_ENDPOINT_URL_EC2`
    pub ec2: Option<String>,
    /// `AWS_ENDPOINT_URL_EVENTBRIDGE`
    pub events: Option<String>,
}

impl Endpoints {
    /// The same URL for every service (`AWS_ENDPOINT_URL`).
    pub fn all(url: &str) -> Self {
        let url = Some(url.to_owned());
        Self {
            autoscaling: url.clone(),
            elbv2: url.clone(),
            eks: url.clone(),
            sqs: url.clone(),
            ec2: url.clone(),
            events: url,
        }
    }
}

/// All the clients, one connection pool beneath them.
#[derive(Clone, Debug)]
pub struct Clients {
    /// Auto Scaling.
    pub autoscaling: aws_sdk_autoscaling::Client,
    /// Elastic Load Balancing v2: ALB, NLB, GWLB.
    pub elbv2: aws_sdk_elasticloadbalancingv2::Client,
    /// EKS.
    pub eks: aws_sdk_eks::Client,
    /// SQS.
    pub sqs: aws_sdk_sqs::Client,
    /// EC2.
    pub ec2: Ec2,
    /// EventBridge.
    pub events: Events,
}

impl Clients {
    /// Builds all the clients; makes no call.
    pub fn new(settings: &Settings) -> Self {
        let config = sdk_config(settings);
        let endpoints = settings.endpoints.clone();

        let mut autoscaling = aws_sdk_autoscaling::config::Builder::from(&config);
        autoscaling.set_endpoint_url(endpoints.autoscaling);
        let mut elbv2 = aws_sdk_elasticloadbalancingv2::config::Builder::from(&config);
        elbv2.set_endpoint_url(endpoints.elbv2);
        let mut eks = aws_sdk_eks::config::Builder::from(&config);
        eks.set_endpoint_url(endpoints.eks);
        let mut sqs = aws_sdk_sqs::config::Builder::from(&config);
        sqs.set_endpoint_url(endpoints.sqs);

        Self {
            autoscaling: aws_sdk_autoscaling::Client::from_conf(autoscaling.build()),
            elbv2: aws_sdk_elasticloadbalancingv2::Client::from_conf(elbv2.build()),
            eks: aws_sdk_eks::Client::from_conf(eks.build()),
            sqs: aws_sdk_sqs::Client::from_conf(sqs.build()),
            ec2: Ec2::new(settings),
            events: Events::new(settings),
        }
    }
}

/// The HTTP client of production: hyper, rustls with ring, the system's root certificates. Build it
/// once; connections are pooled in it.
pub fn http_client() -> SharedHttpClient {
    crate::http::client(CONNECT_TIMEOUT, POOL_IDLE_TIMEOUT)
}

/// Credentials from values that somebody read, in Lambda `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`
/// and `AWS_SESSION_TOKEN`, which stay as they are for the life of an environment.
pub fn credentials(key_id: &str, secret: &str, session_token: Option<&str>) -> Credentials {
    Credentials::new(key_id, secret, session_token.map(str::to_owned), None, "environment")
}

/// One attempt a call: the SDK's own retries draw jitter and know nothing of our deadlines.
fn sdk_config(settings: &Settings) -> SdkConfig {
    SdkConfig::builder()
        .behavior_version(behavior())
        .region(settings.region.clone())
        .credentials_provider(settings.credentials.clone())
        .identity_cache(IdentityCache::no_cache())
        .http_client(settings.http.clone())
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts())
        .sleep_impl(sleep())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .time_source(settings.time.clone())
        .build()
}

/// The SDK's set of defaults, named so that an update cannot change it.
pub(crate) fn behavior() -> BehaviorVersion {
    BehaviorVersion::v2026_01_12()
}

/// The timeouts of every call.
pub(crate) fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .operation_timeout(OPERATION_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .connect_timeout(CONNECT_TIMEOUT)
        .build()
}

/// Timeouts go by tokio's clock, which tests pause.
pub(crate) fn sleep() -> SharedAsyncSleep {
    SharedAsyncSleep::new(TokioSleep::new())
}
