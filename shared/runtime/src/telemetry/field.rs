//! The names of fields in log lines: snake_case, singular, units last, ids verbatim.
//!
//! Code outside this crate's telemetry writes them as identifiers (`warn!(pod = %pod, …)`); a name that is
//! not here is not a field.

macro_rules! fields {
    ($($(#[$doc:meta])* $constant:ident = $name:literal,)+) => {
        $($(#[$doc])* pub const $constant: &str = $name;)+

        /// All of them.
        pub const ALL: &[&str] = &[$($name,)+];
    };
}

fields! {
    /// Messages answered: their hooks were.
    ANSWERED = "answered",
    /// An Auto Scaling group.
    ASG = "asg",
    /// Messages that come back later.
    CAME_BACK = "came_back",
    /// A cluster.
    CLUSTER = "cluster",
    /// Whether the environment has just started.
    COLD_START = "cold_start",
    /// Messages sent to the dead-letter queue.
    DEAD_LETTERED = "dead_lettered",
    /// An error and its causes.
    ERROR = "error",
    /// Messages finished without an answer of ours.
    FINISHED = "finished",
    /// A target group.
    GROUP = "group",
    /// Pods, withdrawals and answers that wait for something.
    HELD = "held",
    /// A lifecycle hook.
    HOOK = "hook",
    /// Messages that are not ours.
    IGNORED = "ignored",
    /// The same by reason: `reason: 3; other reason: 1`.
    IGNORED_BY_REASON = "ignored_by_reason",
    /// An instance.
    INSTANCE = "instance",
    /// A message of the queue. Never `message`: that is the line's own text.
    MESSAGE_ID = "message_id",
    /// Messages in the invocation.
    MESSAGES = "messages",
    /// The mode.
    MODE = "mode",
    /// The earliest instant at which a message comes back.
    NEXT_AT = "next_at",
    /// A node.
    NODE = "node",
    /// A pod, `namespace/name`.
    POD = "pod",
    /// Why something is so, in words.
    REASON = "reason",
    /// A departure record, JSON.
    RECORD = "record",
    /// Time left until a deadline.
    REMAINING_MS = "remaining_ms",
    /// Lambda's id of the invocation.
    REQUEST_ID = "request_id",
    /// One effect.
    STEP = "step",
    /// Steps done.
    STEPS_DONE = "steps_done",
    /// Steps failed.
    STEPS_FAILED = "steps_failed",
    /// Steps not tried.
    STEPS_SKIPPED = "steps_skipped",
    /// What a step was done to.
    SUBJECT = "subject",
    /// How long it took.
    TOOK_MS = "took_ms",
    /// What the invocation began with.
    TRIGGER = "trigger",
    /// Turns made.
    TURNS = "turns",
    /// How long something waits.
    WAIT_MS = "wait_ms",
}
