//! What is linked into a function as it is deployed: built by itself, so that no feature of the tests gets in.

use crate::{none, root};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Functions that are deployed.
const FUNCTIONS: [&str; 2] = ["interruption", "lifecycle"];

/// Crates that must not be linked, and why.
const NOT_LINKED: &[(&str, &str)] = &[
    ("aws-lc-rs", "one crypto provider: ring"),
    ("aws-lc-sys", "one crypto provider: ring"),
    ("aws-sdk-ec2", "nine gigabytes to compile, for two calls"),
    ("aws-sdk-eventbridge", "a crate for one call"),
    ("aws-sdk-sts", "tokens are presigned offline"),
    ("chrono", "jiff is our time"),
    ("ebbtide", "the program is for people"),
    ("h2", "HTTP/1.1 is enough, and half a megabyte smaller"),
    ("lambda", "for tests"),
    ("native-tls", "one TLS stack: rustls"),
    ("openssl", "one TLS stack: rustls"),
    ("openssl-sys", "one TLS stack: rustls"),
    ("proptest", "for tests"),
    ("sandbox", "for tests and the demo"),
    ("system-tests", "for tests"),
    ("tests", "for tests"),
];

/// Crates of which exactly one version must be linked.
const LINKED_ONCE: [&str; 6] = ["http", "hyper", "hyper-rustls", "ring", "rustls", "tokio"];

/// Versions and features of everything that is linked.
#[derive(Default)]
struct Linked {
    versions: BTreeMap<String, BTreeSet<String>>,
    features: BTreeSet<(String, String)>,
}

/// `cargo tree` for the machine this runs on, for which everything was downloaded to build the tests.
fn linked(function: &str) -> Linked {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--edges", "normal,features", "--prefix", "none"])
        .args(["--locked", "--offline", "--package", function])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut linked = Linked::default();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        match line.split(' ').collect::<Vec<_>>().as_slice() {
            [name, "feature", feature, ..] => {
                linked.features.insert(((*name).to_owned(), feature.replace('"', "")));
            }
            [name, version, ..] => {
                let versions = linked.versions.entry((*name).to_owned()).or_default();
                versions.insert((*version).to_owned());
            }
            _ => {}
        }
    }
    linked
}

#[test]
fn a_function_links_one_tls_stack_one_crypto_provider_and_nothing_of_the_tests() {
    for function in FUNCTIONS {
        let linked = linked(function);
        let mut found = Vec::new();
        for (name, why) in NOT_LINKED {
            if linked.versions.contains_key(*name) {
                found.push(format!("{function} links {name}: {why}"));
            }
        }
        for name in LINKED_ONCE {
            let versions = linked.versions.get(name).cloned().unwrap_or_default();
            if versions.len() != 1 {
                found.push(format!("{function} links {name} {versions:?}, expected one version"));
            }
        }
        let is_old = |version: &String| version.starts_with("v0.");
        if linked.versions["hyper"].iter().any(is_old) {
            found.push(format!("{function} links hyper before 1.0"));
        }
        none(&found, "what a function links");
    }
}

#[test]
fn a_function_has_no_feature_of_the_tests() {
    for function in FUNCTIONS {
        let linked = linked(function);
        assert!(linked.features.len() > 100, "the tree was read: {}", linked.features.len());
        let is_for_tests =
            |feature: &str| ["test-util", "hardcoded-credentials"].contains(&feature);
        let for_tests: Vec<String> = linked
            .features
            .iter()
            .filter(|(_, feature)| is_for_tests(feature))
            .map(|(name, feature)| format!("{name} {feature}"))
            .collect();
        none(&for_tests, "features of the tests in a function");
    }
}
