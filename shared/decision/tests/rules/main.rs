//! The rules of a decision, as tables and properties: no clock, no network, no async. Every test reads the same small
//! world (`world.rs`), changes what its row is about, and says what must come of it.

mod admission;
mod alone;
mod annotation;
mod arrival;
mod budget;
mod departure;
mod drawn;
mod floor;
mod interruption;
mod invariant;
mod judge;
mod looks;
mod pace;
mod peers;
mod plan;
mod policy;
mod report;
mod storm;
mod story;
mod withdraw;
mod world;
