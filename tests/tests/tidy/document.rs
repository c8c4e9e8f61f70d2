//! What the documents say is so: settings, commands, paths, and the guards of the invariants.

use crate::{none, read, root};
use cargo_metadata::MetadataCommand;
use std::collections::BTreeSet;

/// Documents whose paths and commands are checked.
const DOCUMENTS: [&str; 5] =
    ["ARCHITECTURE.md", "CHANGELOG.md", "README.md", "STYLE.md", "events/README.md"];

/// A path in a document begins with one of these.
const DIRECTORIES: [&str; 6] = [".ci/", "cli/", "events/", "functions/", "shared/", "tests/"];

/// The demo, as README.md gives it.
const DEMO: &str = "cargo run --bin ebbtide -- demo";

/// The one command that runs all tests, as README.md gives it.
const TEST: &str = "cargo test --workspace --locked";

/// The part of a document between two markers, without them.
fn between<'a>(document: &'a str, name: &str) -> &'a str {
    let (begin, end) = (format!("<!-- {name}: begin -->\n"), format!("<!-- {name}: end -->"));
    document.split_once(&begin).and_then(|(_, rest)| rest.split_once(&end)).unwrap().0
}

fn row(cells: &[&str]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

fn code(text: &str) -> String {
    if text.is_empty() { "none".to_owned() } else { format!("`{text}`") }
}

#[test]
fn readmes_table_of_the_policy_is_the_codes() {
    let mut table = row(&["variable", "in a hook", "default", "form", "why"]);
    table.push_str("|---|---|---|---|---|\n");
    for setting in decision::policy::SETTINGS {
        let key = setting.key.map_or_else(|| "–".to_owned(), code);
        let (variable, default) = (code(setting.variable), code(setting.default));
        table.push_str(&row(&[&variable, &key, &default, setting.form, setting.why]));
    }
    let said = read("README.md");
    assert!(between(&said, "policy") == table, "README.md should say\n{table}");
}

#[test]
fn readmes_table_of_the_process_is_the_codes() {
    let mut table = row(&["variable", "default", "form", "why"]);
    table.push_str("|---|---|---|---|\n");
    for setting in runtime::config::SETTINGS {
        let (variable, default) = (code(setting.variable), code(setting.default));
        table.push_str(&row(&[&variable, &default, setting.form, setting.why]));
    }
    let said = read("README.md");
    assert!(between(&said, "process") == table, "README.md should say\n{table}");
}

/// Lines of code blocks that run cargo, without their comments.
fn commands(document: &str) -> Vec<String> {
    let lines = document.split("```").skip(1).step_by(2).flat_map(str::lines).map(str::trim);
    lines
        .map(|line| line.split("  #").next().unwrap_or_default().trim_end().to_owned())
        .filter(|line| line.split(' ').take(4).any(|word| word == "cargo"))
        .collect()
}

#[test]
fn the_two_commands_are_in_the_readme_and_run_by_ci() {
    let (readme, ci) = (read("README.md"), read(".ci/run"));
    let commands = commands(&readme);
    for command in [DEMO, TEST] {
        assert!(commands.iter().any(|line| line == command), "{command} is not in {commands:#?}");
    }
    let tests: Vec<&String> =
        commands.iter().filter(|line| line.starts_with("cargo test")).collect();
    assert_eq!(
        tests,
        [TEST],
        "one command begins a line with `cargo test`, and it runs all of them"
    );
    assert!(ci.contains("'^cargo test'"), ".ci/run takes the test command from README.md");
    assert!(ci.lines().all(|line| line.trim() != TEST), "and has no copy of it");
}

#[test]
fn every_command_names_what_exists() {
    let mut command = MetadataCommand::new();
    command.manifest_path(root().join("Cargo.toml")).no_deps();
    command.other_options(["--locked".to_owned(), "--offline".to_owned()]);
    let packages = command.exec().unwrap().packages;
    let mut known: BTreeSet<(&str, String)> = BTreeSet::new();
    for package in &packages {
        known.insert(("-p", package.name.to_string()));
        known.insert(("--package", package.name.to_string()));
        for target in &package.targets {
            let flag = if target.is_bin() { "--bin" } else { "--test" };
            known.insert((flag, target.name.clone()));
        }
    }
    let mut found = Vec::new();
    for path in DOCUMENTS {
        for command in commands(&read(path)) {
            let words: Vec<&str> = command.split(' ').collect();
            for pair in words.windows(2) {
                let [flag, name] = pair else { continue };
                let is_target = ["-p", "--package", "--bin", "--test"].contains(flag);
                if is_target && !known.contains(&(*flag, (*name).to_owned())) {
                    found.push(format!("{path}: {command}: no {flag} {name}"));
                }
            }
        }
    }
    none(&found, "commands in documents");
}

/// Every path in backticks or in a link that begins with one of our directories.
#[test]
fn every_path_in_a_document_exists() {
    let mut found = Vec::new();
    for path in DOCUMENTS {
        let document = read(path);
        let base = root().join(path).parent().unwrap().to_owned();
        let quoted = document.split('`').skip(1).step_by(2).filter(|text| {
            DIRECTORIES.iter().any(|directory| text.starts_with(directory))
                && !text.contains([' ', '*', '\n'])
                && !text.contains("FILE")
        });
        for text in quoted {
            let file = text.split("::").next().unwrap_or_default();
            if !root().join(file).exists() {
                found.push(format!("{path}: {text}"));
            }
        }
        for link in document.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let is_local =
                !link.starts_with("http") && !link.starts_with('#') && !link.contains(' ');
            if is_local && !base.join(link.split('#').next().unwrap_or_default()).exists() {
                found.push(format!("{path}: link to {link}"));
            }
        }
    }
    none(&found, "paths in documents");
}

/// The last cell of a row names its guards: `FILE.rs::name_of_a_test`, or another file and words that stand in it.
#[test]
fn every_invariant_has_a_guard_that_exists() {
    let document = read("ARCHITECTURE.md");
    let table = between(&document, "invariants");
    let (mut found, mut rows) = (Vec::new(), 0);
    for line in table.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| #")) {
        rows += 1;
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").collect();
        let guards: Vec<&str> = cells[cells.len() - 1].split('`').skip(1).step_by(2).collect();
        if guards.is_empty() {
            found.push(format!("no guard: {line}"));
        }
        found.extend(guards.into_iter().filter_map(missing));
    }
    assert!(rows >= 20, "the table was read: {rows} rows");
    none(&found, "guards in ARCHITECTURE.md");
}

fn missing(guard: &str) -> Option<String> {
    let Some((path, name)) = guard.split_once("::") else {
        return Some(format!("{guard}: no `::`"));
    };
    if !root().join(path).exists() {
        return Some(format!("{guard}: no such file"));
    }
    let text = read(path);
    let stands = if path.ends_with(".rs") {
        text.contains(&format!("fn {name}("))
    } else {
        text.contains(name)
    };
    (!stands).then(|| format!("{guard}: not in the file"))
}

#[test]
fn no_placeholder_is_left_in_the_readme() {
    let readme = read("README.md");
    let left: Vec<String> = readme
        .lines()
        .filter(|line| line.contains("[n]") || line.contains("measured:") || line.contains("TBD"))
        .map(str::to_owned)
        .collect();
    none(&left, "numbers that nobody filled in");
}

/// The version that is built is the newest that the change log speaks of, or it speaks of what comes next.
#[test]
fn the_change_log_begins_with_what_is_built() {
    let log = read("CHANGELOG.md");
    let first = log.lines().find_map(|line| line.strip_prefix("## ")).unwrap();
    let manifest = read("Cargo.toml");
    let version = manifest.lines().find_map(|line| line.strip_prefix("version = ")).unwrap();
    assert!(first == "Unreleased" || first.starts_with(version.trim_matches('"')), "{first}");
}
