//! AWS adapters: single attempts, wire types to decision types.
//!
//! Each function makes one call (or the pages of one list), waits no longer than
//! [`clients::OPERATION_TIMEOUT`] for it, and either returns types of `decision`, parsed once, or a
//! [`CloudError`] that names the operation and its subject and has a class. There is no policy here, no
//! retry and no log line: whoever calls decides whether a failure is worth another try.
//!
//! Functions take the SDK's concrete clients, so that tests replace the wire beneath them.

pub mod autoscaling;
pub mod clients;
pub mod ec2;
pub mod eks;
pub mod elbv2;
pub mod error;
pub mod events;
mod http;
mod partition;
mod signed;
pub mod sqs;

pub use aws_credential_types::Credentials;
pub use aws_credential_types::provider::SharedCredentialsProvider;
pub use aws_smithy_async::time::{SharedTimeSource, TimeSource};
pub use aws_smithy_runtime_api::client::http::SharedHttpClient;
pub use aws_types::region::Region;
pub use clients::{Clients, Endpoints, Settings};
pub use error::{CloudError, Refusal};
