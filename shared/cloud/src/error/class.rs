//! What a service's refusal means for the caller, by the service's own code first and by HTTP status
//! where the code says nothing.
//!
//! Codes go first because AWS's older services throttle with 400 and 503, and refuse with 400.

use super::Refusal;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::error::metadata::ErrorMetadata;
use decision::step::Class;
use std::time::Duration;

/// "Slow down", in each service's own words: Auto Scaling says `Throttling`, ELB, EKS and
/// EventBridge `ThrottlingException`, EC2 `RequestLimitExceeded`, SQS `RequestThrottled`.
const THROTTLED: [&str; 11] = [
    "BandwidthLimitExceeded",
    "EC2ThrottledException",
    "KmsThrottled",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "SlowDown",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
];

/// "You may not", or "I do not know who you are".
const DENIED: [&str; 16] = [
    "AccessDenied",
    "AccessDeniedException",
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationToken",
    "NotAuthorizedForDetailTypeException",
    "NotAuthorizedForSourceException",
    "OptInRequired",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "UnauthorizedOperation",
    "UnrecognizedClientException",
];

/// "It is not there". `InvalidTarget` is among them: we register only what was registered before, so
/// it means an instance that no longer runs.
const GONE: [&str; 9] = [
    "InvalidInstanceID.NotFound",
    "InvalidTarget",
    "MessageNotInflight",
    "NonExistentQueue",
    "QueueDoesNotExist",
    "ReceiptHandleIsInvalid",
    "ResourceNotFoundException",
    "TargetGroupNotFound",
    "TargetGroupNotFoundException",
];

/// "Not now", where the HTTP status alone might say something else.
const AGAIN: [&str; 9] = [
    "InternalError",
    "InternalException",
    "InternalFailure",
    "InternalServerError",
    "RequestTimeout",
    "RequestTimeoutException",
    "ResourceContention",
    "ServiceUnavailable",
    "Unavailable",
];

impl Refusal {
    /// Reads a refusal from what the service's parser found and from the response itself.
    pub(crate) fn read(found: &ErrorMetadata, response: &HttpResponse) -> Self {
        let retry_after = response.headers().get("retry-after");
        Self {
            code: found.code().unwrap_or_default().to_owned(),
            message: found.message().unwrap_or_default().to_owned(),
            status: response.status().as_u16(),
            retry_after: retry_after
                .and_then(|seconds| seconds.trim().parse().ok())
                .map(Duration::from_secs),
        }
    }

    /// How it failed, as far as it matters for what comes next.
    pub fn class(&self) -> Class {
        let code = self.code.as_str();
        let code = code.strip_prefix("AWS.SimpleQueueService.").unwrap_or(code);
        if THROTTLED.contains(&code) {
            Class::Throttled(self.retry_after)
        } else if DENIED.contains(&code) {
            Class::Denied
        } else if GONE.contains(&code) || self.says_that_it_is_gone() {
            Class::Gone
        } else if AGAIN.contains(&code) {
            Class::Again
        } else {
            self.class_of_status()
        }
    }

    /// Two services say that something is not there only in the message of a general code: Auto
    /// Scaling of a group, SQS of a message that is deleted or back in the queue.
    fn says_that_it_is_gone(&self) -> bool {
        let message = &self.message;
        match self.code.as_str() {
            "ValidationError" => {
                message.starts_with("AutoScalingGroup") && message.contains("not found")
            }
            "InvalidParameterValue" => {
                message.contains("not available for visibility timeout change")
            }
            _ => false,
        }
    }

    fn class_of_status(&self) -> Class {
        match self.status {
            429 => Class::Throttled(self.retry_after),
            401 | 403 => Class::Denied,
            404 => Class::Gone,
            408 | 500.. => Class::Again,
            _ => Class::Final,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(code: &str, message: &str, status: u16, expected: Class) {
        let retry_after = Some(Duration::from_secs(2));
        let refusal =
            Refusal { code: code.to_owned(), message: message.to_owned(), status, retry_after };
        assert_eq!(refusal.class(), expected, "{refusal}");
    }

    #[test]
    fn the_code_decides_before_the_status() {
        let throttled = Class::Throttled(Some(Duration::from_secs(2)));
        for code in THROTTLED {
            check(code, "Rate exceeded", 400, throttled);
        }
        check("RequestLimitExceeded", "Request limit exceeded.", 503, throttled);
        check("AWS.SimpleQueueService.RequestThrottled", "", 403, throttled);
        check("InternalError", "", 400, Class::Again);
        check("InternalException", "", 400, Class::Again);
        check("NotAuthorizedForSourceException", "", 400, Class::Denied);
        check("ResourceContention", "", 500, Class::Again);
        check("ResourceNotFoundException", "", 404, Class::Gone);
        check("InvalidInstanceID.NotFound", "", 400, Class::Gone);
        check("ExpiredToken", "", 400, Class::Denied);
    }

    #[test]
    fn a_code_that_we_do_not_know_goes_by_its_status() {
        check("", "", 429, Class::Throttled(Some(Duration::from_secs(2))));
        check("", "", 502, Class::Again);
        check("", "", 408, Class::Again);
        check("NewKindOfDenial", "", 403, Class::Denied);
        check("NoSuchThing", "", 404, Class::Gone);
        check("InvalidParameterCombination", "", 400, Class::Final);
    }

    #[test]
    fn a_general_code_is_gone_only_by_its_message() {
        let group = "AutoScalingGroup name not found - AutoScalingGroup 'web' not found";
        check("ValidationError", group, 400, Class::Gone);
        check("ValidationError", "1 validation error detected", 400, Class::Final);
        let message = "Value AQEB for parameter ReceiptHandle is invalid. Reason: Message does not \
                       exist or is not available for visibility timeout change.";
        check("InvalidParameterValue", message, 400, Class::Gone);
        check("InvalidParameterValue", "VisibilityTimeout is invalid", 400, Class::Final);
    }
}
