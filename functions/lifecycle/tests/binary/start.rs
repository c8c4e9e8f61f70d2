//! The start: all mistakes of the configuration at once, and none where there is none.

use crate::binary;
use tests::aws::Account;
use tests::environment::{Environment, QUEUES};

/// Starts the function and waits for its end; asserts that it ended in failure, having called nobody.
#[track_caller]
fn last_words(settings: &[(&str, &str)]) -> String {
    let function = Environment::start(binary(), Account::default(), settings).unwrap();
    let ended = function.wait().unwrap();
    assert!(!ended.status.success(), "it must not start:\n{}{}", ended.stdout, ended.stderr);
    ended.stderr
}

#[test]
fn all_wrong_settings_are_named_with_value_and_form() {
    let words = last_words(&[
        ("MODE", "maybe"),
        ("WITHDRAW_FLOOR", "150"),
        ("SETTLE_NETWORK", "2 minutes"),
        ("MAXIMUM_CONCURRENCY", "1"),
        ("QUEUE_URL", "ebbtide"),
        ("AWS_ENDPOINT_URL", "sandbox"),
    ]);
    for (variable, value, form) in [
        ("MODE", "maybe", "observe or act or paused"),
        ("WITHDRAW_FLOOR", "150", "percent, 0 to 100"),
        ("SETTLE_NETWORK", "2 minutes", "a whole number with a unit"),
        ("MAXIMUM_CONCURRENCY", "1", "a whole number from 2 to 1000"),
        ("QUEUE_URL", "ebbtide", "a queue's URL"),
        ("AWS_ENDPOINT_URL", "sandbox", "http:// or https://"),
    ] {
        for part in [variable, value, form] {
            assert!(words.contains(part), "{variable}: `{part}` is not in:\n{words}");
        }
    }
}

#[test]
fn a_missing_setting_is_named() {
    let words = last_words(&[("AWS_REGION", ""), QUEUES[0]]);
    for part in ["AWS_REGION", "a region", "DEAD_LETTER_QUEUE_URL"] {
        assert!(words.contains(part), "`{part}` is not in:\n{words}");
    }
}

#[test]
fn a_mistake_shows_no_secret() {
    let words = last_words(&[("MODE", "maybe"), ("AWS_SESSION_TOKEN", "very-secret-token")]);
    for secret in ["very-secret-token", "wJalrXUtnFEMI"] {
        assert!(!words.contains(secret), "{words}");
    }
}
