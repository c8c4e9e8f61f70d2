//! PodDisruptionBudgets, with what their controller last counted.

use crate::call::{Call, PageOf};
use crate::error::{ClusterError, Operation};
use decision::id::PodKey;
use decision::snapshot::cluster::{Budget, Operator, Requirement, Selector};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;

const GROUP: &str = "/apis/policy/v1";
const PLURAL: &str = "poddisruptionbudgets";

/// All budgets of the cluster. One without a selector guards no pod (an empty selector guards all of
/// its namespace) and is left out.
pub async fn budgets(client: &kube::Client) -> Result<Vec<Budget>, ClusterError> {
    let path = format!("{GROUP}/{PLURAL}");
    let call = Call::get(Operation::ListBudgets, "of all namespaces", path);
    call.list(client, PageOf::Small, RawBudget::guarding).await
}

/// The request for the budgets of a namespace.
pub(crate) fn in_namespace(operation: Operation, namespace: &str) -> Call {
    let path = format!("{GROUP}/namespaces/{namespace}/{PLURAL}");
    Call::get(operation, format!("of {namespace}"), path)
}

/// A budget as far as a watch reads it.
#[derive(Deserialize)]
pub(crate) struct RawCount {
    metadata: PodKey,
    #[serde(default)]
    status: RawStatus,
}

impl RawCount {
    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.metadata.name
    }

    /// Whether a pod may leave, as last counted.
    pub(crate) fn allows(&self) -> bool {
        self.status.disruptions_allowed > 0
    }
}

#[derive(Deserialize)]
struct RawBudget {
    metadata: PodKey,
    #[serde(default)]
    spec: RawSpec,
    #[serde(default)]
    status: RawStatus,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawSpec {
    selector: Option<RawSelector>,
    min_available: Option<IntOrPercent>,
    max_unavailable: Option<IntOrPercent>,
    unhealthy_pod_eviction_policy: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawSelector {
    match_labels: BTreeMap<String, String>,
    match_expressions: Vec<RawRequirement>,
}

#[derive(Deserialize)]
struct RawRequirement {
    key: String,
    operator: RawOperator,
    #[serde(default)]
    values: Vec<String>,
}

#[derive(Deserialize)]
enum RawOperator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

/// `3` or `"10%"`.
#[derive(Deserialize)]
#[serde(untagged)]
enum IntOrPercent {
    Int(i32),
    Percent(String),
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawStatus {
    disruptions_allowed: i32,
    current_healthy: i32,
    desired_healthy: i32,
    expected_pods: i32,
}

impl fmt::Display for IntOrPercent {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(count) => count.fmt(out),
            Self::Percent(share) => share.fmt(out),
        }
    }
}

impl RawBudget {
    fn guarding(self) -> Option<Budget> {
        let Self { metadata, spec, status } = self;
        Some(Budget {
            key: metadata,
            rule: spec.rule(),
            selector: spec.selector?.into(),
            allowed: status.disruptions_allowed,
            healthy: status.current_healthy,
            desired: status.desired_healthy,
            expected: status.expected_pods,
            unhealthy_always: spec.unhealthy_pod_eviction_policy.as_deref() == Some("AlwaysAllow"),
        })
    }
}

impl RawSpec {
    fn rule(&self) -> String {
        match (&self.max_unavailable, &self.min_available) {
            (Some(most), _) => format!("maxUnavailable {most}"),
            (None, Some(least)) => format!("minAvailable {least}"),
            (None, None) => "no rule".to_owned(),
        }
    }
}

impl From<RawSelector> for Selector {
    fn from(raw: RawSelector) -> Self {
        let requirement = |raw: RawRequirement| Requirement {
            key: raw.key,
            operator: match raw.operator {
                RawOperator::In => Operator::In,
                RawOperator::NotIn => Operator::NotIn,
                RawOperator::Exists => Operator::Exists,
                RawOperator::DoesNotExist => Operator::DoesNotExist,
            },
            values: raw.values,
        };
        Self {
            labels: raw.match_labels,
            expressions: raw.match_expressions.into_iter().map(requirement).collect(),
        }
    }
}
