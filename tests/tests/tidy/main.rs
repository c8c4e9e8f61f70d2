//! The house's own rules, as far as no compiler and no lint holds them: who may depend on whom, what stands in one
//! place only, how long a file may be, and that the documents say what the code does.
//!
//! Each rule that ARCHITECTURE.md lists names its guard, and `document` checks that the guard is there.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod binary;
mod dependency;
mod document;
mod manifest;
mod permission;
mod source;

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// A file of the repository, by its path from the root.
#[track_caller]
fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A source file.
struct Source {
    /// From the root.
    path: String,
    text: String,
}

impl Source {
    /// Whether it is compiled for tests and examples only.
    fn is_test(&self) -> bool {
        let is_file = |name: &str| self.path.ends_with(name);
        let is_in = |name: &str| self.path.contains(name);
        is_in("/tests/") || is_in("/benches/") || is_in("/examples/") || is_file("/tests.rs")
    }

    /// Its lines of code, numbered from 1: without comments, without what stands in string literals, and without the
    /// tests at its end.
    fn code(&self) -> Vec<(usize, String)> {
        let code = blanked(&self.text);
        let without_tests = code.split("#[cfg(test)]").next().unwrap_or_default();
        let lines = without_tests.lines().enumerate();
        lines.map(|(index, line)| (index + 1, line.to_owned())).collect()
    }
}

/// The text with comments and the contents of string literals left out, line by line.
fn blanked(text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let starts = |at: usize, with: &str| {
        with.chars().enumerate().all(|(i, c)| characters.get(at + i) == Some(&c))
    };
    let (mut out, mut at) = (String::new(), 0);
    while at < characters.len() {
        let end = if starts(at, "//") {
            (at..characters.len()).find(|i| characters[*i] == '\n').unwrap_or(characters.len())
        } else if starts(at, "r#\"") {
            (at + 3..characters.len())
                .find(|i| starts(*i, "\"#"))
                .map_or(characters.len(), |i| i + 2)
        } else if characters[at] == '"' {
            closing(&characters, at, '"')
        } else if starts(at, "'\\")
            || characters.get(at + 2) == Some(&'\'') && characters[at] == '\''
        {
            closing(&characters, at, '\'')
        } else {
            out.push(characters[at]);
            at += 1;
            continue;
        };
        out.extend(characters[at..end].iter().filter(|character| **character == '\n'));
        at = end;
    }
    out
}

/// Behind the quote that closes the literal which opens at `at`.
fn closing(characters: &[char], at: usize, quote: char) -> usize {
    let mut escaped = false;
    for (i, character) in characters.iter().enumerate().skip(at + 1) {
        if !escaped && *character == quote {
            return i + 1;
        }
        escaped = !escaped && *character == '\\';
    }
    characters.len()
}

/// All Rust files below these directories, in order of their paths.
fn sources(below: &[&str]) -> Vec<Source> {
    let mut paths: Vec<PathBuf> = Vec::new();
    let mut open: Vec<PathBuf> = below.iter().map(|directory| root().join(directory)).collect();
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                paths.push(path);
            }
        }
    }
    paths.sort();
    let root = root();
    let source = |path: PathBuf| Source {
        text: fs::read_to_string(&path).unwrap(),
        path: path.strip_prefix(&root).unwrap().display().to_string(),
    };
    paths.into_iter().map(source).collect()
}

/// The identifiers in a line of code.
fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|character: char| !character.is_alphanumeric() && character != '_')
        .filter(|word| !word.is_empty())
}

/// Fails with all that was found, one a line.
#[track_caller]
fn none(found: &[String], rule: &str) {
    assert!(found.is_empty(), "{rule}:\n{}", found.join("\n"));
}
