//! Does it apply to this pod? Label selectors and tolerations, as Kubernetes defines them.

use crate::snapshot::cluster::{Operator, Requirement, Selector, Toleration};
use std::collections::BTreeMap;

/// Whether `selector` selects `labels`. An empty selector selects everything (policy/v1).
pub fn selects(selector: &Selector, labels: &BTreeMap<String, String>) -> bool {
    includes(labels, &selector.labels)
        && selector.expressions.iter().all(|requirement| meets(requirement, labels))
}

/// Whether `labels` has every pair of `wanted`.
pub fn includes(labels: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}

fn meets(requirement: &Requirement, labels: &BTreeMap<String, String>) -> bool {
    let value = labels.get(&requirement.key);
    let listed = value.is_some_and(|value| requirement.values.contains(value));
    match requirement.operator {
        Operator::In => listed,
        Operator::NotIn => !listed,
        Operator::Exists => value.is_some(),
        Operator::DoesNotExist => value.is_none(),
    }
}

/// Whether any of `tolerations` tolerates a taint with this key, no value, and effect `NoSchedule`.
pub fn tolerates(tolerations: &[Toleration], key: &str) -> bool {
    tolerations.iter().any(|toleration| {
        let effect = toleration.effect.as_deref().is_none_or(|effect| effect == "NoSchedule");
        let matches = match &toleration.key {
            None => toleration.exists,
            Some(own) => {
                own == key
                    && (toleration.exists || toleration.value.as_deref().unwrap_or("").is_empty())
            }
        };
        effect && matches
    })
}

/// Whether a Service's selector selects the pod.
pub fn serves(
    service: &crate::snapshot::cluster::Service,
    pod: &crate::snapshot::cluster::Pod,
) -> bool {
    service.key.namespace == pod.key.namespace && includes(&pod.labels, &service.selector)
}
