//! Merge patches and strategic merge patches.
//!
//! They differ only in lists: a merge patch replaces every list, a strategic merge patch merges
//! those that have a merge key. `spec.taints` of a node has none: it is atomic, so that a patch
//! with one taint deletes all others.

use serde_json::{Map, Value};

/// The lists of nodes and pods that a strategic merge patch merges, with their merge keys.
const MERGED: [(&str, &str); 3] =
    [("conditions", "type"), ("ownerReferences", "uid"), ("addresses", "type")];

/// Applies a merge patch (RFC 7396).
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    let target = as_object(target);
    for (name, value) in patch {
        if value.is_null() {
            target.remove(name);
        } else {
            merge(target.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

/// Applies a strategic merge patch.
pub(crate) fn merge_strategically(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if patch.get("$patch").is_some_and(|directive| directive == "replace") {
        let fields = patch.iter().filter(|(name, _)| *name != "$patch");
        *target =
            Value::Object(fields.map(|(name, value)| (name.clone(), value.clone())).collect());
        return;
    }
    let target = as_object(target);
    for (name, value) in patch {
        if let Some(list) = name.strip_prefix("$deleteFromPrimitiveList/") {
            drop_from(target, list, value);
        } else if name.starts_with('$') {
            // `$setElementOrder` and `$retainKeys` say nothing that these lists need.
        } else if value.is_null() {
            target.remove(name);
        } else if let Value::Array(items) = value {
            merge_list(target, name, items);
        } else {
            merge_strategically(target.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

fn as_object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("it was just made one")
}

fn drop_from(target: &mut Map<String, Value>, list: &str, gone: &Value) {
    let gone = gone.as_array().map_or(&[][..], Vec::as_slice);
    if let Some(Value::Array(all)) = target.get_mut(list) {
        all.retain(|one| !gone.contains(one));
    }
}

fn merge_list(target: &mut Map<String, Value>, name: &str, items: &[Value]) {
    let key = MERGED.iter().find(|(list, _)| *list == name).map(|(_, key)| *key);
    if key.is_none() && name != "finalizers" {
        target.insert(name.to_owned(), Value::Array(items.to_vec()));
        return;
    }
    let list = target.entry(name.to_owned()).or_insert_with(|| Value::Array(Vec::new()));
    let Value::Array(all) = list else { return };
    for item in items {
        let Some(key) = key else {
            if !all.contains(item) {
                all.push(item.clone());
            }
            continue;
        };
        let place = all.iter().position(|one| one[key] == item[key]);
        match place {
            Some(place) if item["$patch"] == "delete" => drop(all.remove(place)),
            Some(place) => {
                if let Some(old) = all.get_mut(place) {
                    merge_strategically(old, item);
                }
            }
            None if item["$patch"] == "delete" => {}
            None => all.push(item.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{merge, merge_strategically};
    use serde_json::{Value, json};

    fn node() -> Value {
        json!({"metadata": {"labels": {"a": "1", "b": "2"}, "finalizers": ["f"]},
            "spec": {"taints": [{"key": "x", "effect": "NoSchedule"}]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]}})
    }

    #[test]
    fn null_removes_and_maps_merge() {
        for apply in [merge, merge_strategically] {
            let mut target = node();
            apply(&mut target, &json!({"metadata": {"labels": {"a": null, "c": "3"}}}));
            assert_eq!(target["metadata"]["labels"], json!({"b": "2", "c": "3"}));
        }
    }

    #[test]
    fn taints_are_atomic_in_both() {
        for apply in [merge, merge_strategically] {
            let mut target = node();
            apply(
                &mut target,
                &json!({"spec": {"taints": [{"key": "y", "effect": "NoSchedule"}]}}),
            );
            assert_eq!(target["spec"]["taints"], json!([{"key": "y", "effect": "NoSchedule"}]));
        }
    }

    #[test]
    fn lists_with_a_merge_key_merge_only_strategically() {
        let patch = json!({"metadata": {"finalizers": ["g"]},
            "status": {"conditions": [{"type": "Mine", "status": "True"}]}});
        let mut target = node();
        merge_strategically(&mut target, &patch);
        assert_eq!(target["metadata"]["finalizers"], json!(["f", "g"]));
        assert_eq!(target["status"]["conditions"].as_array().map(Vec::len), Some(2));
        let mut target = node();
        merge(&mut target, &patch);
        assert_eq!(target["metadata"]["finalizers"], json!(["g"]));
        assert_eq!(target["status"]["conditions"].as_array().map(Vec::len), Some(1));
    }

    #[test]
    fn directives_delete_from_lists() {
        let mut target = node();
        let patch = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["f"]},
            "status": {"conditions": [{"type": "Ready", "$patch": "delete"}]}});
        merge_strategically(&mut target, &patch);
        assert_eq!(target["metadata"]["finalizers"], json!([]));
        assert_eq!(target["status"]["conditions"], json!([]));
    }
}
