//! The rights that are published in `infra/rbac.yaml`, given and taken one by one.

use crate::api::Api;
use crate::error::SystemError;
use serde_json::Value;
use std::fmt;

/// What is published.
const RBAC: &str = include_str!("../../../infra/rbac.yaml");
const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
const BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";

/// One verb on one resource.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Right {
    /// `patch`
    pub verb: String,
    /// `nodes`, `pods/eviction`
    pub resource: String,
    /// Empty for the core.
    pub group: String,
}

impl fmt::Display for Right {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}.{}", self.verb, self.resource, self.group)
    }
}

/// The ClusterRole as it is published, for one group of the cluster's users that has the role's name.
#[derive(Clone, Debug)]
pub struct Role {
    name: String,
    whole: Value,
}

impl Role {
    /// Applies role and binding as they are published, with another name unless it is `ebbtide`.
    pub async fn apply(api: &Api, name: &str) -> Result<Self, SystemError> {
        let named = RBAC.replace("name: ebbtide\n", &format!("name: {name}\n"));
        let mut parts = named.split("\n---\n");
        let (role, binding) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let whole = api.post_yaml(ROLES, role).await?;
        drop(api.post_yaml(BINDINGS, binding).await?);
        Ok(Self { name: name.to_owned(), whole })
    }

    /// All rights that are published, each by itself. Each rule there is three lines: groups, resources, verbs.
    pub fn published() -> Vec<Right> {
        let (role, _) = RBAC.split_once("\n---\n").unwrap_or_default();
        let (mut rights, mut group, mut resources) = (Vec::new(), String::new(), Vec::new());
        for line in role.lines().map(|line| line.trim_start_matches([' ', '-'])) {
            match line.split_once(": [") {
                Some(("apiGroups", list)) => group = items(list).concat(),
                Some(("resources", list)) => resources = items(list),
                Some(("verbs", list)) => {
                    for (resource, verb) in resources
                        .iter()
                        .flat_map(|one| items(list).into_iter().map(move |verb| (one, verb)))
                    {
                        rights.push(Right {
                            verb,
                            resource: resource.clone(),
                            group: group.clone(),
                        });
                    }
                }
                _ => {}
            }
        }
        rights
    }

    /// Puts the role into force without one of its rights; with `None`, the whole one.
    pub async fn put(&self, api: &Api, without: Option<&Right>) -> Result<(), SystemError> {
        let mut role = self.whole.clone();
        if let Some(metadata) = role["metadata"].as_object_mut() {
            metadata.retain(|key, _| key == "name");
        }
        for rule in role["rules"].as_array_mut().into_iter().flatten() {
            let about = |right: &Right| {
                texts(&rule["resources"]).contains(&right.resource.as_str())
                    && texts(&rule["apiGroups"]).contains(&right.group.as_str())
            };
            let Some(right) = without.filter(|right| about(right)) else { continue };
            if let Some(verbs) = rule["verbs"].as_array_mut() {
                verbs.retain(|verb| *verb != right.verb);
            }
        }
        // A rule without verbs is no rule.
        if let Some(rules) = role["rules"].as_array_mut() {
            rules.retain(|rule| rule["verbs"] != Value::Array(Vec::new()));
        }
        api.put(&format!("{ROLES}/{}", self.name), &role).await.map(drop)
    }
}

/// `get, list]` as a list.
fn items(list: &str) -> Vec<String> {
    list.trim_end_matches(']').split(", ").map(|item| item.trim_matches('"').to_owned()).collect()
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}
