//! Real clients on the sandbox's wires, for this crate's own tests.

use crate::world::Sandbox;
use aws_credential_types::Credentials;
use aws_smithy_async::rt::sleep::{SharedAsyncSleep, TokioSleep};
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use std::time::Duration;

/// A careful client's patience with one call.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

macro_rules! config {
    ($sdk:ident, $sandbox:expr, $process:expr) => {
        $sdk::Config::builder()
            .behavior_version($sdk::config::BehaviorVersion::latest())
            .region($sdk::config::Region::new("eu-central-1"))
            .credentials_provider(Credentials::from_keys("id", "secret", None))
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().operation_timeout(PATIENCE).build())
            .sleep_impl(SharedAsyncSleep::new(TokioSleep::new()))
            .http_client($sandbox.aws($process))
            .build()
    };
}

pub(crate) fn sqs(sandbox: &Sandbox, process: u32) -> aws_sdk_sqs::Client {
    aws_sdk_sqs::Client::from_conf(config!(aws_sdk_sqs, sandbox, process))
}

pub(crate) fn autoscaling(sandbox: &Sandbox, process: u32) -> aws_sdk_autoscaling::Client {
    aws_sdk_autoscaling::Client::from_conf(config!(aws_sdk_autoscaling, sandbox, process))
}

pub(crate) fn elb(sandbox: &Sandbox, process: u32) -> aws_sdk_elasticloadbalancingv2::Client {
    let config = config!(aws_sdk_elasticloadbalancingv2, sandbox, process);
    aws_sdk_elasticloadbalancingv2::Client::from_conf(config)
}
