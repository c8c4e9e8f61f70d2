//! The rights that README.md asks for are those that the code uses: every call is allowed, and nothing else is.

use crate::{read, sources};
use std::collections::BTreeSet;

/// What Lambda's poller needs of the role; no code of ours calls it.
const POLLER: [&str; 3] = ["sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"];

/// The services' names in IAM, by the file of `cloud` that calls them.
const SERVICES: [(&str, &str); 6] = [
    ("autoscaling.rs", "autoscaling"),
    ("ec2.rs", "ec2"),
    ("eks.rs", "eks"),
    ("elbv2.rs", "elasticloadbalancing"),
    ("events.rs", "events"),
    ("sqs.rs", "sqs"),
];

/// First words of the SDK's operations.
const VERBS: [&str; 7] =
    ["change", "complete", "deregister", "describe", "record", "register", "send"];

/// What each of `cluster`'s operations needs: API group, resource, verb.
const RIGHTS: [(&str, [&str; 3]); 13] = [
    ("Delete", ["", "pods", "delete"]),
    ("Evict", ["", "pods/eviction", "create"]),
    ("GetNode", ["", "nodes", "get"]),
    ("ListBudgets", ["policy", "poddisruptionbudgets", "list"]),
    ("ListEndpoints", ["discovery.k8s.io", "endpointslices", "list"]),
    ("ListNodes", ["", "nodes", "list"]),
    ("ListPods", ["", "pods", "list"]),
    ("ListServices", ["", "services", "list"]),
    ("ListVolumes", ["storage.k8s.io", "volumeattachments", "list"]),
    ("Note", ["events.k8s.io", "events", "create"]),
    ("PatchNode", ["", "nodes", "patch"]),
    ("WatchBudgets", ["policy", "poddisruptionbudgets", "watch"]),
    ("WatchPods", ["", "pods", "watch"]),
];

/// The code block of README.md that begins with this fence and holds these words.
fn block(fence: &str, holds: &str) -> String {
    let readme = read("README.md");
    let blocks = readme.split("\n```").filter_map(|block| block.strip_prefix(fence));
    blocks.into_iter().find(|block| block.contains(holds)).unwrap().to_owned()
}

/// `describe_target_health` as IAM spells it; a batch of calls needs the right of one.
fn action(operation: &str) -> String {
    let words = operation.split('_').filter(|word| *word != "batch");
    let capital = |word: &str| {
        let (first, rest) = word.split_at_checked(1).unwrap_or_default();
        first.to_uppercase() + rest
    };
    words.map(capital).collect()
}

/// What stands before an operation that is named in text: in a form, or in a header.
const NAMED: [&str; 2] = [r#"append_pair("Action", ""#, r#""AWSEvents."#];

/// The operation that a line of `cloud` calls.
fn called(line: &str) -> Option<String> {
    let named = NAMED.iter().find_map(|before| line.split_once(before));
    if let Some((_, rest)) = named {
        return rest.split('"').next().map(str::to_owned);
    }
    let (name, _) = line.split_once("()")?;
    let name = name.rsplit('.').next().filter(|_| name.contains('.'))?;
    let verb = name.split('_').next()?;
    (VERBS.contains(&verb) && name.contains('_')).then(|| action(name))
}

#[test]
fn the_iam_policy_allows_every_call_and_no_other() {
    let mut used: BTreeSet<String> = POLLER.iter().map(|action| (*action).to_owned()).collect();
    for (file, service) in SERVICES {
        let path = ["shared/cloud/src/", file].concat();
        let source = sources(&["shared/cloud/src"]).into_iter().find(|source| source.path == path);
        let source = source.unwrap();
        let calls: Vec<String> = source.text.lines().filter_map(called).collect();
        assert!(!calls.is_empty(), "{path}: its calls were found");
        used.extend(calls.into_iter().map(|call| [service, ":", &call].concat()));
    }
    let policy: serde_json::Value = serde_json::from_str(&block("json", "\"Statement\"")).unwrap();
    let mut allowed = BTreeSet::new();
    for statement in policy["Statement"].as_array().unwrap() {
        assert_eq!(statement["Effect"], "Allow");
        for action in statement["Action"].as_array().unwrap() {
            assert!(allowed.insert(action.as_str().unwrap().to_owned()), "{action} twice");
        }
    }
    assert_eq!(allowed, used);
}

#[test]
fn the_cluster_role_allows_every_call_and_no_other() {
    let error = read("shared/cluster/src/error.rs");
    let (_, variants) = error.split_once("pub enum Operation {").unwrap();
    let (variants, _) = variants.split_once('}').unwrap();
    let operations: BTreeSet<&str> = variants
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .filter_map(|line| line.trim().strip_suffix(','))
        .filter(|operation| *operation != "Connect")
        .collect();
    let listed: BTreeSet<&str> = RIGHTS.iter().map(|(operation, _)| *operation).collect();
    assert_eq!(operations, listed, "what cluster does, and what it needs for that");

    let needed: BTreeSet<[String; 3]> =
        RIGHTS.iter().map(|(_, right)| right.map(str::to_owned)).collect();
    let role = block("yaml", "kind: ClusterRole\n");
    let mut allowed = BTreeSet::new();
    for rule in role.lines().filter(|line| line.trim_start().starts_with("- {")) {
        for right in rights(rule) {
            assert!(allowed.insert(right), "twice: {rule}");
        }
    }
    assert_eq!(allowed, needed);

    // Each rule there is three lines: groups, resources, verbs.
    let manifest = read("infra/rbac.yaml");
    let (manifest, _) = manifest.split_once("\n---\n").unwrap();
    let lines: Vec<&str> = manifest
        .lines()
        .map(|line| line.trim_start_matches([' ', '-']))
        .filter(|line| line.ends_with(']'))
        .collect();
    let mut applied = BTreeSet::new();
    for rule in lines.chunks(3) {
        for right in rights(&rule.concat()) {
            assert!(applied.insert(right), "infra/rbac.yaml has it twice: {rule:?}");
        }
    }
    assert_eq!(applied, needed, "infra/rbac.yaml");
}

/// The rights of one rule: `- { apiGroups: [""], resources: [nodes], verbs: [get, list] }`.
fn rights(rule: &str) -> Vec<[String; 3]> {
    let list = |key: &str| -> Vec<String> {
        let (_, rest) = rule.split_once(&[key, ": ["].concat()).unwrap();
        let (items, _) = rest.split_once(']').unwrap();
        items.split(", ").map(|item| item.trim_matches('"').to_owned()).collect()
    };
    let (groups, resources, verbs) = (list("apiGroups"), list("resources"), list("verbs"));
    let mut rights = Vec::new();
    for group in &groups {
        for resource in &resources {
            let of_verb = |verb: &String| [group.clone(), resource.clone(), verb.clone()];
            rights.extend(verbs.iter().map(of_verb));
        }
    }
    rights
}
