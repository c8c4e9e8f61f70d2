//! A panic over one instance must not fail its batch: the rules are called through here, one instance at a time.
//!
//! The process lives on after a panic (it unwinds, see the workspace's profiles). What was caught is put into words, and
//! whoever called says what becomes of that instance's messages.

use futures_util::future::FutureExt as _;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What `rule` says, or what its panic said.
pub(crate) fn caught<T>(rule: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(rule)).map_err(|panic| text(panic.as_ref()))
}

/// The same for what waits in between.
pub(crate) async fn caught_in<T>(look: impl Future<Output = T>) -> Result<T, String> {
    AssertUnwindSafe(look).catch_unwind().await.map_err(|panic| text(panic.as_ref()))
}

fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_its_words() {
        let number = 7;
        assert_eq!(caught(|| number), Ok(7));
        assert_eq!(caught(|| panic!("as it stands")), Err::<(), _>("as it stands".to_owned()));
        assert_eq!(caught(|| panic!("with {number}")), Err::<(), _>("with 7".to_owned()));
        assert_eq!(caught(|| std::panic::panic_any(number)), Err::<(), _>("no message".to_owned()));
    }

    #[tokio::test]
    async fn a_panic_after_a_wait_is_caught_too() {
        let panics = async {
            tokio::task::yield_now().await;
            panic!("later");
        };
        assert_eq!(caught_in(panics).await, Err::<(), _>("later".to_owned()));
        assert_eq!(caught_in(async { 7 }).await, Ok(7));
    }
}
