//! The start: what this function alone reads is checked too, all mistakes at once.

use crate::binary;
use tests::invocation::assert_mistakes_named;

#[test]
fn all_wrong_settings_are_named_with_value_and_form() {
    let mistakes = [
        ("SPOT_WARNING", "panic", "ignore or cordon or drain"),
        ("REBALANCE", "yes", "ignore or cordon or drain"),
        ("REBALANCE_HOLD", "12h", "at most 11h"),
        ("MAINTENANCE_LEAD", "soon", "at most 11h"),
        ("OUT_OF_SERVICE", "maybe", "off or on"),
        ("EVENT_BUS", "two words", "event bus"),
        ("AWS_ENDPOINT_URL_EVENTBRIDGE", "sandbox", "http:// or https://"),
    ];
    assert_mistakes_named(binary(), &mistakes);
}
