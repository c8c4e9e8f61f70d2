//! Bare events: one slice, and the report is the answer.

use crate::invoke;
use serde_json::Value;
use tests::event::{named, sample};
use tests::invocation::{IN_1970, IN_2100, account_of};

/// Every lifecycle event there is, each in an AWS in which it is true and whose cluster was deleted.
#[test]
fn every_lifecycle_event_is_answered_with_continue() {
    let names = named("autoscaling.");
    assert!(!names.is_empty());
    for name in names {
        let text = sample(&name);
        let seen = invoke(account_of(&text), &[], &text, IN_2100);
        let fate = seen.fate();
        assert_eq!(fate["fate"], "answered", "{name}: {:#}", seen.answer);
        assert_eq!(fate["result"], "CONTINUE", "{name}: {:#}", seen.answer);
        let payload: Value = serde_json::from_str(&text).unwrap();
        let token = payload["detail"]["LifecycleActionToken"].as_str().unwrap();
        let answers = seen.bodies("CompleteLifecycleAction");
        assert_eq!(answers.len(), 1, "{name}: {answers:?}");
        for part in [token, "LifecycleActionResult=CONTINUE"] {
            assert!(answers[0].contains(part), "{name}: `{part}` is not in {}", answers[0]);
        }
        for log in [&seen.ended.stdout, &seen.ended.stderr] {
            assert!(!log.contains(token), "{name}: the token is logged:\n{log}");
        }
    }
}

#[test]
fn a_deadline_in_1970_counts_as_unknown() {
    let text = sample("autoscaling.terminate.json");
    let seen = invoke(account_of(&text), &[], &text, IN_1970);
    assert_eq!(seen.fate()["result"], "CONTINUE", "{:#}", seen.answer);
}

#[test]
fn observe_reports_and_writes_nothing() {
    let text = sample("autoscaling.terminate.json");
    let seen = invoke(account_of(&text), &[("MODE", "observe")], &text, IN_2100);
    assert_eq!(seen.fate()["fate"], "observed", "{:#}", seen.answer);
    let writes: Vec<&str> =
        seen.operations().into_iter().filter(|call| !call.starts_with("Describe")).collect();
    assert_eq!(writes, [""; 0]);
    assert_eq!(seen.lines("departure record").len(), 1, "{}", seen.ended.stdout);
}

#[test]
fn nothing_is_the_default() {
    let text = sample("autoscaling.terminate.json");
    let seen = invoke(account_of(&text), &[("MODE", "")], &text, IN_2100);
    assert_eq!(seen.fate()["fate"], "observed", "{:#}", seen.answer);
}

#[test]
fn what_cannot_be_read_is_answered_with_the_reason() {
    let seen = invoke(account_of("{}"), &[], r#"{"detail-type": 7}"#, IN_2100);
    let fate = seen.fate();
    assert_eq!(fate["fate"], "dead_lettered", "{:#}", seen.answer);
    assert!(fate["why"].as_str().is_some_and(|why| !why.is_empty()), "{:#}", seen.answer);
    assert_eq!(seen.operations(), [""; 0], "there is no message to send anywhere");
}

#[test]
fn one_environment_serves_one_invocation_after_another() {
    let text = sample("autoscaling.terminate.json");
    let mut function =
        tests::environment::Environment::start(crate::binary(), account_of(&text), &[]).unwrap();
    for _ in 0..3 {
        let answer = function.invoke(&text, IN_2100).unwrap();
        assert_eq!(answer["fates"]["bare"]["fate"], "observed", "{answer:#}");
    }
    let starts = function.end().unwrap().stdout;
    assert_eq!(starts.matches("\"slice closed\"").count(), 3, "{starts}");
    let cold = starts.lines().filter(|line| line.contains("\"slice closed\"")).collect::<Vec<_>>();
    let is_cold = |line: &&str| line.contains("\"cold_start\":true");
    assert_eq!(cold.iter().map(is_cold).collect::<Vec<_>>(), [true, false, false], "{starts}");
}
