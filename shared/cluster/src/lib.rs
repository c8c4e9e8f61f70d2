//! What Ebbtide reads from a Kubernetes cluster and what it writes there, one HTTP request at a time.
//!
//! Every function takes the client it is to use and makes single attempts: whether another try is
//! worth it is decided above, by [`ClusterError::class`]. Answers become `decision`'s types here and
//! nowhere else. Only the fields that are needed are read (`k8s-openapi` types serve for what is
//! written), and requests go through `kube::Client::send`: its typed calls drop the `Retry-After`
//! header and log whole objects that they cannot read, and its `evict` loses the preconditions.
//!
//! ```text
//!   node, pod, sibling, budget, service, volume, note, watch
//!                        │ Call: method, path, query, body
//!                      call ── error: Status, class
//!                        │
//!                    connect: timeout on each request, TLS, bearer token
//! ```

mod budget;
mod call;
mod connect;
mod error;
mod meta;
mod node;
mod note;
mod pod;
mod removal;
mod service;
mod sibling;
mod volume;
mod watch;

pub use budget::budgets;
pub use connect::{Bearer, Endpoint, dial, wrap};
pub use error::{BoxError, ClusterError, Operation};
pub use node::{departing, node, node_names, patch_node};
pub use note::note;
pub use pod::pods_on;
pub use removal::{delete, evict};
pub use service::{endpoints, services};
pub use sibling::siblings;
pub use volume::volumes_on;
pub use watch::{budget_opened, pods_changed};
