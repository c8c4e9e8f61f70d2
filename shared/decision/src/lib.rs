//! Pure decisions: events become signals, snapshots become plans. No I/O and no clock in here.

pub mod annotation;
pub mod event;
pub mod id;
pub mod limits;
pub mod policy;
pub mod scope;
pub mod signal;
pub mod snapshot;
pub mod step;
pub mod time;
