//! Rules about manifests and lint configurations, read as the lines they are.

use crate::{none, read, root};
use std::collections::BTreeSet;
use std::fs;

const MANIFESTS: [&str; 12] = [
    "cli/Cargo.toml",
    "functions/interruption/Cargo.toml",
    "functions/lifecycle/Cargo.toml",
    "shared/cloud/Cargo.toml",
    "shared/cluster/Cargo.toml",
    "shared/decision/Cargo.toml",
    "shared/runtime/Cargo.toml",
    "shared/sandbox/Cargo.toml",
    "tests/Cargo.toml",
    "tests/cluster/Cargo.toml",
    "tests/lambda/Cargo.toml",
    "tests/system/Cargo.toml",
];

/// The lines of one section of a manifest.
fn section<'a>(manifest: &'a str, header: &str) -> Vec<&'a str> {
    let lines = manifest.lines().skip_while(|line| *line != header).skip(1);
    lines.take_while(|line| !line.starts_with('[')).collect()
}

#[test]
fn shared_dependencies_are_in_order_and_lean() {
    let manifest = read("Cargo.toml");
    let lines = section(&manifest, "[workspace.dependencies]");
    let (mut found, mut before, mut reason, mut entries) = (Vec::new(), "", false, 0);
    for line in lines {
        let Some((name, value)) = line.split_once(" = ") else {
            // A comment is the reason of the line below it; an empty line begins a new block.
            reason = line.starts_with('#');
            before = if line.is_empty() { "" } else { before };
            continue;
        };
        let is_ours = value.contains("path = ");
        let is_lean = value.contains("default-features = false");
        if !(is_ours || is_lean || reason || value.contains(" # ")) {
            found.push(format!("{name}: default features without a reason"));
        }
        if name <= before {
            found.push(format!("{name} stands after {before}"));
        }
        (before, reason, entries) = (name, false, entries + 1);
    }
    none(&found, "[workspace.dependencies]");
    assert!(entries > 40, "the section was read: {entries} entries");
}

#[test]
fn every_crate_has_the_lints_and_takes_its_dependencies_from_the_workspace() {
    let members = read("Cargo.toml");
    let mut found = Vec::new();
    for path in MANIFESTS {
        let directory = path.trim_end_matches("/Cargo.toml");
        assert!(members.contains(&format!("\"{directory}\"")), "{directory} is a member");
        let manifest = read(path);
        if section(&manifest, "[lints]").first() != Some(&"workspace = true") {
            found.push(format!("{path}: no [lints] workspace = true"));
        }
        for header in ["[dependencies]", "[dev-dependencies]"] {
            let lines = section(&manifest, header);
            let (mut before, entries) = ("", lines.iter().filter(|line| line.contains(" = ")));
            for line in entries.filter(|line| !line.starts_with('#')) {
                let (key, value) = line.split_once(" = ").unwrap();
                let name = key.trim_end_matches(".workspace");
                if value.contains("version") {
                    found.push(format!("{path}: {name} has a version of its own"));
                }
                if name <= before {
                    found.push(format!("{path}: {name} stands after {before}"));
                }
                before = name;
            }
        }
    }
    none(&found, "manifests");
    let count =
        members.lines().find(|line| line.starts_with("members")).unwrap().matches('"').count();
    assert_eq!(count, 2 * MANIFESTS.len(), "every member is in this test's list");
}

/// Clippy reads only the nearest file, so the stricter one must repeat the other.
#[test]
fn decisions_clippy_bans_all_that_the_workspaces_bans_and_more() {
    let rules = |path: &str| -> BTreeSet<String> {
        read(path).lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    };
    let (whole, core) = (rules("clippy.toml"), rules("shared/decision/clippy.toml"));
    let missing: Vec<String> = whole.difference(&core).cloned().collect();
    none(&missing, "in clippy.toml but not in shared/decision/clippy.toml");
    let bans = |rules: &BTreeSet<String>, what: &str| rules.iter().any(|rule| rule.contains(what));
    for what in
        ["HashMap", "HashSet", "SystemTime::now", "Instant::now", "env::var", "tokio::spawn"]
    {
        assert!(bans(&whole, what), "{what} is not banned");
    }
    assert!(bans(&core, "std::thread::sleep") && bans(&core, "std::fs"), "decision bans more");
    for manifest in MANIFESTS.iter().filter(|path| !path.starts_with("shared/decision/")) {
        let rules = root().join(manifest).with_file_name("clippy.toml");
        assert!(!rules.exists(), "{} are rules of its own", rules.display());
    }
}

#[test]
fn release_binaries_are_small_and_outlive_a_panic() {
    let manifest = read("Cargo.toml");
    let release = section(&manifest, "[profile.release]");
    for line in [
        r#"lto = "fat""#,
        r#"opt-level = "z""#,
        r#"panic = "unwind""#,
        "codegen-units = 1",
        "strip = true",
    ] {
        assert!(release.contains(&line), "{line} is not in {release:?}");
    }
    assert!(section(&manifest, "[workspace.lints.rust]").contains(&r#"unsafe_code = "forbid""#));
}

#[test]
fn the_toolchain_that_is_pinned_is_the_one_that_is_promised() {
    let pinned = read("rust-toolchain.toml");
    let promised = read("Cargo.toml");
    let version = promised.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap();
    let version = version.trim_matches('"');
    assert!(pinned.contains(&format!("channel = \"{version}")), "{pinned} is not {version}");
}

#[test]
fn the_licence_is_there() {
    assert!(read("LICENSE").contains("Apache License"));
    assert!(
        fs::exists(root().join("Cargo.lock")).unwrap(),
        "binaries are built from a locked graph"
    );
}
