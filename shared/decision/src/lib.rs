//! Pure decisions: events become signals, snapshots become plans. No I/O and no clock in here.
//!
//! ```text
//!   event ──> signal ──┐
//!                      ├─> Snapshot ── decide ──> Decision { steps, answers, report } ── join ──> Plan
//!   gathered facts ────┘      admit · departure · arrival · withdraw · judge
//! ```

mod admit;
pub mod annotation;
mod announce;
mod arrival;
pub mod budget;
pub mod decide;
pub mod decision;
mod departure;
pub mod event;
pub mod id;
pub mod judge;
pub mod limits;
pub mod looks;
pub mod matching;
pub mod pace;
pub mod plan;
pub mod policy;
pub mod report;
pub mod scope;
pub mod signal;
pub mod snapshot;
pub mod step;
pub mod time;
pub mod verdict;
pub mod withdraw;
