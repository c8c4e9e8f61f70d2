//! Our own events on EventBridge: a departure begun, blocked, ended. Optional; from there to SNS, a chat, anything.
//!
//! They tell what was done and are read by nothing of ours, so a failure to send one is a warning and no more. Nothing is
//! sent in mode `observe`.

use crate::app::App;
use cloud::events::{Entry, put};
use decision::policy::Mode;
use serde_json::Value;

/// What an event tells of a departure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Chapter {
    /// Its node was cordoned.
    Begun,
    /// It does not move; the detail has the page that says why, and what can be done.
    Blocked,
    /// It is over.
    Ended,
}

impl Chapter {
    /// The event's `detail-type`.
    const fn detail_type(self) -> &'static str {
        match self {
            Self::Begun => "Departure Begun",
            Self::Blocked => "Departure Blocked",
            Self::Ended => "Departure Ended",
        }
    }
}

/// One piece of news: what, and the departure record.
pub(crate) type News = (Chapter, Value);

/// Sends the news of a slice, if somebody asked for it.
pub(crate) async fn send(app: &App, news: Vec<News>) {
    let Some(bus) = app.event_bus.as_deref().filter(|_| app.policy.mode == Mode::Act) else {
        return;
    };
    let entries: Vec<Entry> = news
        .into_iter()
        .map(|(chapter, detail)| Entry {
            detail_type: chapter.detail_type().to_owned(),
            // ARNs belong here; a rule finds the instance in the detail.
            resources: Vec::new(),
            detail,
        })
        .collect();
    if entries.is_empty() {
        return;
    }
    if let Err(error) = put(&app.aws.events, bus, &entries).await {
        tracing::warn!(bus, error = error.why(), "events not sent");
    }
}
