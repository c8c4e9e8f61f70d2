//! The Lambda function that empties nodes that AWS interrupts.

use runtime::entry::{EntryError, run};
use runtime::metric::Function;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), EntryError> {
    run(Function::Interruption).await
}
