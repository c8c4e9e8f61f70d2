//! Who selects a pod: Services and budgets by one label that they ask for, so that a pod's change need not be shown
//! to all of them.

use crate::kubernetes::object::{Key, Object};
use crate::kubernetes::selector::Selector;
use std::collections::{BTreeMap, BTreeSet};

/// By label: its name, then its value.
type ByLabel = BTreeMap<String, BTreeMap<String, BTreeSet<Key>>>;

/// Those of one namespace.
#[derive(Debug, Default)]
struct Within {
    by_label: ByLabel,
    /// Those that no label alone can find.
    others: BTreeSet<Key>,
}

/// Names of what selects pods, by namespace.
#[derive(Debug, Default)]
pub(super) struct Index(BTreeMap<String, Within>);

impl Index {
    /// Adds one that selects.
    pub(super) fn insert(&mut self, namespace: &str, selector: &Selector, key: &Key) {
        let within = self.0.entry(namespace.to_owned()).or_default();
        let keys = match selector.anchor() {
            Some((name, value)) => {
                let values = within.by_label.entry(name.to_owned()).or_default();
                values.entry(value.to_owned()).or_default()
            }
            None => &mut within.others,
        };
        keys.insert(key.clone());
    }

    /// Removes it again.
    pub(super) fn remove(&mut self, namespace: &str, selector: &Selector, key: &Key) {
        let Some(within) = self.0.get_mut(namespace) else { return };
        let keys = match selector.anchor() {
            Some((name, value)) => {
                within.by_label.get_mut(name).and_then(|values| values.get_mut(value))
            }
            None => Some(&mut within.others),
        };
        if let Some(keys) = keys {
            keys.remove(key);
        }
    }

    /// Those that may select one of these versions of a pod, in the order of their keys.
    pub(super) fn candidates(&self, versions: [Option<&Object>; 2]) -> BTreeSet<Key> {
        let mut found = BTreeSet::new();
        for pod in versions.into_iter().flatten() {
            let Some(within) = self.0.get(&*pod.meta.namespace) else { continue };
            found.extend(within.others.iter().cloned());
            for (name, values) in &within.by_label {
                let value = pod.meta.labels.get(name);
                let keys = value.and_then(|value| values.get(value));
                found.extend(keys.into_iter().flatten().cloned());
            }
        }
        found
    }
}
