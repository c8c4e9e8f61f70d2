//! Rules about source text: pure core, one place for each ambient thing, short files, nothing left undone.

use crate::{Source, none, sources, words};
use std::collections::BTreeSet;

/// What is deployed.
const DEPLOYED: [&str; 5] =
    ["functions", "shared/cloud", "shared/cluster", "shared/decision", "shared/runtime"];

/// Everything.
const ALL: [&str; 4] = ["cli", "functions", "shared", "tests"];

/// Words that pure code has no use for: clocks, I/O, waiting, chance, logging, state that is shared. (`Arc` alone shares what
/// nobody can change.)
const IMPURE: [&str; 29] = [
    "Cell",
    "File",
    "Instant",
    "LazyLock",
    "OnceCell",
    "OnceLock",
    "RefCell",
    "RwLock",
    "SystemTime",
    "async",
    "await",
    "dbg",
    "env",
    "eprint",
    "eprintln",
    "fastrand",
    "fs",
    "io",
    "net",
    "print",
    "println",
    "process",
    "rand",
    "sleep",
    "spawn",
    "thread",
    "thread_local",
    "tokio",
    "tracing",
];

/// Files of more than [`LINES_MAX`] lines, each with the reason why it is not two.
const LONG: &[(&str, &str)] = &[];

/// The longest file. Tests are exempt: a table is as long as its subject needs.
const LINES_MAX: usize = 600;

/// The longest `main.rs`, tests and comments included: it builds and hands over.
const MAIN_LINES_MAX: usize = 40;

/// Every line of code in `below`, outside of tests, in which one of `needles` occurs as whole words.
fn mentions(below: &[&str], needles: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources(below).iter().filter(|source| !source.is_test()) {
        for (number, line) in source.code() {
            if needles.iter().any(|needle| has(&line, needle)) {
                found.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    found
}

/// A needle of one word must be a whole word of the line; a longer one is text.
fn has(line: &str, needle: &str) -> bool {
    if words(needle).count() == 1 && words(needle).next() == Some(needle) {
        words(line).any(|word| word == needle)
    } else {
        line.contains(needle)
    }
}

/// Asserts that what is `mentioned` is mentioned in exactly these files.
#[track_caller]
fn only_in(files: &[&str], mentioned: &[String]) {
    let places: BTreeSet<&str> =
        mentioned.iter().filter_map(|line| line.split(':').next()).collect();
    let expected: BTreeSet<&str> = files.iter().copied().collect();
    assert_eq!(places, expected, "{mentioned:#?}");
}

#[test]
fn decision_does_no_io_and_reads_no_clock() {
    let found = mentions(&["shared/decision/src"], &IMPURE);
    none(&found, "decision is pure: no clock, no I/O, no waiting, no chance, no logging");
}

/// Counts that follow from what they are kept with, and nothing else: nobody can tell whether they were there before.
#[test]
fn one_place_in_the_core_keeps_what_it_counted() {
    only_in(
        &["shared/decision/src/snapshot/departing.rs"],
        &mentions(&["shared/decision/src"], &["Mutex"]),
    );
}

#[test]
fn a_clock_in_the_core_would_be_found() {
    let source = Source {
        path: "shared/decision/src/x.rs".to_owned(),
        text: "//! Instant of a plan.\nfn now() -> u64 {\n    Instant::now() // why\n}\n\
               const QUOTE: [char; 2] = ['\"', '\\''];\nconst ZONE: &str = \"net, env\";\n\
               const IO: &str = r#\"a \"fs\" of\nio\"#; use std::net;\n\
               #[cfg(test)]\nmod tests {\n    use tokio;\n}\n"
            .to_owned(),
    };
    let hits: Vec<usize> = source
        .code()
        .into_iter()
        .filter(|(_, line)| IMPURE.iter().any(|word| has(line, word)))
        .map(|(number, _)| number)
        .collect();
    assert_eq!(hits, [3, 8], "code counts; comments, texts and tests do not");
}

#[test]
fn one_place_reads_the_environment() {
    only_in(&["shared/runtime/src/config.rs"], &mentions(&DEPLOYED, &["std::env", "env::var"]));
}

#[test]
fn one_place_reads_the_wall_clock() {
    let found =
        mentions(&DEPLOYED, &["SystemTime::now", "Utc::now", "Timestamp::now", "Zoned::now"]);
    only_in(&["shared/runtime/src/clock.rs"], &found);
}

#[test]
fn one_place_installs_the_log_subscriber() {
    let needles =
        ["init_default_subscriber", "set_global_default", "try_init", "tracing_subscriber"];
    only_in(&["shared/runtime/src/telemetry.rs"], &mentions(&DEPLOYED, &needles));
}

#[test]
fn a_process_is_one_future() {
    let needles = ["spawn", "spawn_local", "spawn_blocking", "JoinSet", "LocalSet"];
    none(&mentions(&DEPLOYED, &needles), "whoever drops the future must drop all of it");
}

#[test]
fn select_is_never_left_to_chance() {
    none(
        &mentions(&DEPLOYED, &["select!"]),
        "`select!` draws; use futures_util::select_all, in order",
    );
}

/// A step holds every argument that it needs, so its performer has no use for the words of choosing.
#[test]
fn execute_knows_neither_policy_nor_verdicts() {
    let files = ["shared/runtime/src/execute"];
    let choosing = [
        "Mode",
        "Overrides",
        "Policy",
        "Snapshot",
        "Verdict",
        "decide",
        "judge",
        "policy",
        "verdict",
    ];
    let mut found = mentions(&files, &choosing);
    let all = mentions(&["shared/runtime/src"], &choosing);
    found.extend(all.into_iter().filter(|line| line.starts_with("shared/runtime/src/execute.rs:")));
    none(&found, "execute branches on outcomes only");
}

/// `loop` has no bound to name; a `while` or `for` says what ends it.
#[test]
fn no_loop_without_a_bound() {
    none(&mentions(&DEPLOYED, &["loop"]), "a loop must name its bound");
}

/// Waiting is for the modules that take a deadline or a timeout with a name.
#[test]
fn only_these_wait() {
    let found = mentions(&DEPLOYED, &["tokio::time::sleep", "tokio::time::timeout", "sleep_until"]);
    only_in(
        &[
            "shared/cluster/src/connect.rs",
            "shared/cluster/src/watch.rs",
            "shared/runtime/src/clock.rs",
            "shared/runtime/src/execute.rs",
            "shared/runtime/src/limiter.rs",
            "shared/runtime/src/retry.rs",
            "shared/runtime/src/slice.rs",
        ],
        &found,
    );
}

#[test]
fn nobody_mocks_our_own_traits() {
    let needles = ["async_trait", "automock", "mockall", "dyn Client"];
    none(&mentions(&ALL, &needles), "tests replace the wire, not the client");
}

#[test]
fn files_are_short() {
    let long: BTreeSet<&str> = LONG.iter().map(|(path, _)| *path).collect();
    let mut found = Vec::new();
    for source in sources(&ALL).iter().filter(|source| !source.is_test()) {
        let (lines, is_listed) = (source.text.lines().count(), long.contains(source.path.as_str()));
        if (lines > LINES_MAX) != is_listed {
            found.push(format!("{}: {lines} lines, listed: {is_listed}", source.path));
        }
    }
    none(&found, "at most 600 lines, or listed with a reason");
}

#[test]
fn main_builds_and_hands_over() {
    let mut mains = 0;
    for source in sources(&["functions"]).iter().filter(|file| file.path.ends_with("src/main.rs")) {
        mains += 1;
        let lines = source.text.lines().count();
        assert!(lines <= MAIN_LINES_MAX, "{}: {lines} lines", source.path);
        assert!(!source.text.contains("#[test]"), "{}: no logic, so no test", source.path);
    }
    assert!(mains > 0);
}

/// Written in two parts, so that this file does not find itself.
#[test]
fn nothing_is_left_undone_or_switched_off() {
    let needles = [
        ("TO", "DO"),
        ("FIX", "ME"),
        ("todo", "!("),
        ("unimplemented", "!("),
        ("#[al", "low("),
        ("#![al", "low("),
        ("#[ig", "nore"),
    ]
    .map(|(one, other)| [one, other].concat());
    let mut found = Vec::new();
    for source in sources(&ALL) {
        for (index, line) in source.text.lines().enumerate() {
            if needles.iter().any(|needle| line.contains(needle.as_str())) {
                found.push(format!("{}:{}: {}", source.path, index + 1, line.trim()));
            }
        }
    }
    none(&found, "use #[expect(lint, reason)], and finish it");
}

/// Rules that leave out tests cut a file at its first `#[cfg(test)]`: nothing else may follow the tests.
#[test]
fn tests_stand_at_the_end_of_their_file() {
    let mut found = Vec::new();
    for source in sources(&DEPLOYED).iter().filter(|source| !source.is_test()) {
        let Some((_, tests)) = source.text.split_once("#[cfg(test)]") else { continue };
        let inline_ends = tests.split_once("\n}\n").is_some_and(|(_, rest)| rest.trim().is_empty());
        let is_a_file = tests.trim() == "mod tests;";
        if !(is_a_file || tests.starts_with("\nmod tests {") && inline_ends) {
            found.push(source.path.clone());
        }
    }
    none(&found, "`#[cfg(test)]` is for `mod tests` at the end");
}

/// A module says what it is for before it says anything else.
#[test]
fn every_file_begins_with_its_idea() {
    let mut found = Vec::new();
    let is_module = |source: &&Source| source.path.contains("/src/") && !source.is_test();
    for source in sources(&ALL).iter().filter(is_module) {
        if !source.text.starts_with("//! ") {
            found.push(source.path.clone());
        }
    }
    none(&found, "`//!` first");
}
