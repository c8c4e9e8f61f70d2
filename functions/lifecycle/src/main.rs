//! The Lambda function that answers Auto Scaling lifecycle actions.

use runtime::entry::{EntryError, run};
use runtime::metric::Function;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), EntryError> {
    run(Function::Lifecycle).await
}
