//! Dependencies point one way: functions → runtime → {cloud, cluster} → decision.

use crate::root;
use cargo_metadata::{DependencyKind, MetadataCommand, Package};
use std::collections::{BTreeMap, BTreeSet};

/// Which of our crates each of them may be built from. A new crate needs a row, and so a thought.
const MAY_USE: &[(&str, &[&str])] = &[
    ("cloud", &["decision"]),
    ("cluster", &["decision"]),
    ("cluster-tests", &[]),
    ("decision", &[]),
    ("ebbtide", &["cloud", "cluster", "decision", "runtime", "sandbox"]),
    ("interruption", &["runtime"]),
    ("lambda", &["sandbox"]),
    ("lifecycle", &["runtime"]),
    ("runtime", &["cloud", "cluster", "decision"]),
    // It would share the mistakes of what it tests.
    ("sandbox", &[]),
    ("system-tests", &["cluster-tests", "lambda", "sandbox"]),
    ("tests", &[]),
];

/// What they may use besides in their own tests.
const MAY_USE_IN_TESTS: &[(&str, &[&str])] = &[
    ("cluster-tests", &["cluster", "decision", "sandbox"]),
    ("interruption", &["tests"]),
    ("lambda", &["cloud", "decision"]),
    ("lifecycle", &["lambda", "sandbox", "tests"]),
    ("runtime", &["sandbox"]),
    ("tests", &["cloud", "cluster", "decision", "ebbtide", "runtime", "sandbox"]),
];

/// Everything that `decision` is built from. None of it does I/O, waits or reads a clock by itself: jiff is used
/// without its features for system time and time zones.
const DECISION_USES: [&str; 5] =
    ["jiff", "serde", "serde_json", "serde_path_to_error", "thiserror"];

fn packages() -> Vec<Package> {
    let mut command = MetadataCommand::new();
    command.manifest_path(root().join("Cargo.toml")).no_deps();
    command.other_options(["--locked".to_owned(), "--offline".to_owned()]);
    command.exec().unwrap().packages
}

fn row(table: &[(&'static str, &[&'static str])], name: &str) -> BTreeSet<&'static str> {
    let row = table.iter().find(|(crate_name, _)| *crate_name == name);
    row.map(|(_, names)| names.iter().copied().collect()).unwrap_or_default()
}

#[test]
fn dependencies_point_one_way() {
    let packages = packages();
    let members: BTreeSet<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    let listed: BTreeSet<&str> = MAY_USE.iter().map(|(name, _)| *name).collect();
    assert_eq!(members, listed, "the workspace's members and the rows of MAY_USE");
    for package in &packages {
        let name = package.name.as_str();
        let (may, may_in_tests) = (row(MAY_USE, name), row(MAY_USE_IN_TESTS, name));
        for dependency in &package.dependencies {
            let used = dependency.name.as_str();
            let is_ours = members.contains(used);
            let in_tests = dependency.kind == DependencyKind::Development;
            let allowed = may.contains(used) || in_tests && may_in_tests.contains(used);
            assert!(!is_ours || allowed, "{name} must not use {used} ({:?})", dependency.kind);
        }
    }
}

#[test]
fn decision_is_built_from_a_short_list() {
    let packages = packages();
    let decision = packages.iter().find(|package| package.name.as_str() == "decision").unwrap();
    let built_from: BTreeMap<&str, DependencyKind> = decision
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind != DependencyKind::Development)
        .map(|dependency| (dependency.name.as_str(), dependency.kind))
        .collect();
    let names: Vec<&str> = built_from.keys().copied().collect();
    assert_eq!(names, DECISION_USES);
    for dependency in &decision.dependencies {
        let clocks = ["tz-system", "tzdb-zoneinfo", "tzdb-bundle-always", "js"];
        let feature = dependency.features.iter().find(|name| clocks.contains(&name.as_str()));
        assert_eq!(feature, None, "{} reads the system with it", dependency.name);
    }
}

/// `publish = false` and no build script: nothing runs when somebody only builds.
#[test]
fn no_crate_of_ours_has_a_build_script_or_can_be_published() {
    for package in packages() {
        let script = package.targets.iter().find(|target| target.is_custom_build());
        assert!(script.is_none(), "{}", package.name);
        assert_eq!(package.publish.as_deref(), Some(&[][..]), "{}", package.name);
    }
}
