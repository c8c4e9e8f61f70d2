//! The start: all mistakes of the configuration at once, and none where there is none.

use crate::binary;
use tests::environment::QUEUES;
use tests::invocation::{assert_mistakes_named, last_words};

#[test]
fn all_wrong_settings_are_named_with_value_and_form() {
    let mistakes = [
        ("MODE", "maybe", "observe or act or paused"),
        ("WITHDRAW_FLOOR", "150", "percent, 0 to 100"),
        ("SETTLE_NETWORK", "2 minutes", "a whole number with a unit"),
        ("MAXIMUM_CONCURRENCY", "1", "a whole number from 2 to 1000"),
        ("QUEUE_URL", "ebbtide", "a queue's URL"),
        ("AWS_ENDPOINT_URL", "sandbox", "http:// or https://"),
    ];
    assert_mistakes_named(binary(), &mistakes);
}

#[test]
fn a_missing_setting_is_named() {
    let words = last_words(binary(), &[("AWS_REGION", ""), QUEUES[0]]);
    for part in ["AWS_REGION", "a region", "DEAD_LETTER_QUEUE_URL"] {
        assert!(words.contains(part), "`{part}` is not in:\n{words}");
    }
}

#[test]
fn a_mistake_shows_no_secret() {
    let words =
        last_words(binary(), &[("MODE", "maybe"), ("AWS_SESSION_TOKEN", "very-secret-token")]);
    for secret in ["very-secret-token", "wJalrXUtnFEMI"] {
        assert!(!words.contains(secret), "{words}");
    }
}
