//! What a batch reads once: who comes second waits for the first, and nobody waits for another key.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::OnceCell;

/// Values by key, each read at most once.
#[derive(Debug)]
pub(crate) struct Once<K, V>(Mutex<BTreeMap<K, Arc<OnceCell<V>>>>);

impl<K, V> Default for Once<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Ord + Clone, V: Clone> Once<K, V> {
    /// The value under this key; `read` gets it for all who ask, and is never begun if somebody else has. Boxed, so that this
    /// is compiled once for each kind of value.
    pub(crate) async fn get(&self, key: &K, read: impl Future<Output = V>) -> V {
        self.get_boxed(key, Box::pin(read)).await
    }

    async fn get_boxed(&self, key: &K, read: Pin<Box<dyn Future<Output = V> + '_>>) -> V {
        let cell = {
            let mut cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(cells.entry(key.clone()).or_default())
        };
        cell.get_or_init(|| read).await.clone()
    }

    /// Lets the next who asks read anew; who waits still gets what is being read.
    pub(crate) fn forget(&self, key: &K) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[tokio::test]
    async fn each_key_is_read_once_by_whoever_comes_first() {
        let (once, reads) = (Once::default(), Cell::new(0));
        let read = async || {
            tokio::task::yield_now().await;
            reads.set(reads.get() + 1);
            reads.get()
        };
        let both = futures_util::join!(once.get(&"a", read()), once.get(&"a", read()));
        assert_eq!(both, (1, 1));
        assert_eq!(once.get(&"b", read()).await, 2);
        assert_eq!(once.get(&"a", read()).await, 1);
    }
}
