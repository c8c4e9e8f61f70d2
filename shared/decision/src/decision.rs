//! What one turn decides about one instance: the steps, what each signal does next, and why no more than that.

use crate::id::InstanceId;
use crate::report::Report;
use crate::scope::Foreign;
use crate::step::{HookCall, HookResult, Step};
use crate::time::Timestamp;
use std::fmt;

/// A decision about one instance.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Which instance.
    pub instance: InstanceId,
    /// What to do now, in this order.
    pub steps: Vec<Step>,
    /// One entry for each signal of the snapshot, in its order.
    pub answers: Vec<Answer>,
    /// What was decided and why, for people.
    pub report: Report,
}

/// What one signal does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The signal's message.
    pub message: String,
    /// What becomes of it.
    pub next: Next,
}

/// What becomes of a signal after this turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Its hook is answered once the steps are done, and the message is finished.
    Answer {
        /// Which action.
        call: HookCall,
        /// How.
        result: HookResult,
        /// Why, for the record.
        why: String,
    },
    /// It is looked at again then; a time that has come means at once.
    ComeBack {
        /// When.
        at: Timestamp,
    },
    /// Nothing is left to do for it.
    Finished(Ending),
    /// It can never work: its hook, if one waits, is answered first, then the dead-letter queue takes it.
    Reject {
        /// The action that hangs on it.
        answer: Option<HookCall>,
        /// Why, for whoever looks into the dead-letter queue.
        why: String,
    },
}

/// Why a signal is finished without an answer of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It is not ours.
    Foreign(Foreign),
    /// It is ours, and the operator's choice is to do nothing about it.
    Ignored(String),
    /// It is no longer true, or its hook was answered already.
    Over(String),
    /// Mode `observe`: it was looked at and reported.
    Observed,
    /// What it asked for is done, and nobody waits for an answer.
    Done(String),
    /// It is due later than a queue can keep it: the sweep raises it again.
    Later(Timestamp),
}

impl fmt::Display for Ending {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign(why) => write!(out, "ignored: {why}"),
            Self::Ignored(why) => write!(out, "ignored: {why}"),
            Self::Over(why) => write!(out, "over: {why}"),
            Self::Observed => write!(out, "observed, nothing written"),
            Self::Done(why) => write!(out, "done: {why}"),
            Self::Later(at) => write!(out, "due at {at}, too late to be kept in the queue"),
        }
    }
}

/// Where a departure or an arrival stands at the end of a turn, before each signal takes its part of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Course {
    /// What to do now.
    pub(crate) steps: Vec<Step>,
    /// How it goes on.
    pub(crate) end: End,
    /// What is said of it.
    pub(crate) report: Report,
}

/// How a course goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Done: hooks are answered.
    Done(HookResult, String),
    /// Not yet: look again then.
    Again(Timestamp),
}
