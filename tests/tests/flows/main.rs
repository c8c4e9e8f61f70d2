//! Whole flows: the real functions on the sandbox's wires, from AWS's event to the hook's answer or the instance's end.
//!
//! Each test is a scenario, what befalls it when, and a look at what became of it. The names are sentences; where one
//! begins with `lost_hook_`, its number is that of a complaint that users of other tools have filed.

#![expect(clippy::unwrap_used, reason = "a test that can't go on should say where")]

mod bad_input;
mod batch;
mod call_budget;
mod crash;
mod defect;
mod deleted_group;
mod flow;
mod foreign;
mod gone;
mod grace;
mod hooks;
mod interruption;
mod lost_hook;
mod maintenance;
mod merging;
mod mode;
mod news;
mod outage;
mod past;
mod recommendation;
mod right;
mod sight;
mod storm;
mod strange;
mod withdrawal;
