//! The post: brings the event's messages to the functions' queues, each when it is true.
//!
//! The world announces by itself what happens in it. Where a message of the file speaks of the same thing it is sent in
//! the place of the world's own, with what is the world's made true in it; anything else is announced by the world's own.
//! What speaks of nothing that happens (a test notification, a late message) goes along with the first.

use crate::demo::act::Act;
use crate::demo::blow::{Blow, Heard};
use crate::demo::cast::Part;
use crate::demo::cue::{Content, Message, Script};
use crate::demo::truth::{ending_at, of_action, of_interruption, whole_second};
use crate::demo::world::{INTERRUPTION_QUEUE, QUEUE};
use decision::event::{Parsed, parse};
use decision::signal::{Cause, Due, HookSignal, Interruption, Signal, SignalKind};
use decision::snapshot::aws::InstanceState;
use decision::time::{Timestamp, human};
use sandbox::aws::events::EventBridge;
use sandbox::{Millis, World};
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

/// The messages of the event on their way.
#[derive(Debug)]
pub(crate) struct Post<'a> {
    script: &'a Script,
    parts: &'a [Part],
    /// For each message, whether it speaks of something that the world will tell of by itself.
    plays: Vec<bool>,
    /// For each message, the body that was sent.
    sent: Vec<Option<String>>,
    /// The tokens of the actions that are told of.
    tokens: BTreeSet<String>,
    /// How many of the world's own events were seen.
    seen: usize,
    /// When the last message was sent.
    sent_at: Millis,
}

/// Something that an instance's group or AWS says about it, for the timeline.
#[derive(Clone, Debug)]
pub(crate) struct Word {
    /// The instance.
    pub(crate) instance: String,
    /// What was said.
    pub(crate) text: String,
}

impl<'a> Post<'a> {
    /// Nothing is sent yet.
    pub(crate) fn new(script: &'a Script, parts: &'a [Part]) -> Self {
        let plays: Vec<bool> =
            script.messages.iter().map(|message| plays(message, parts)).collect();
        let sent = vec![None; plays.len()];
        Self { script, parts, plays, sent, tokens: BTreeSet::new(), seen: 0, sent_at: 0 }
    }

    /// Whether there is something to bring.
    pub(crate) fn has_mail(&self, world: &World) -> bool {
        self.seen < world.aws.events.events_log.len()
    }

    /// For each message of the event, the body that was sent, if it was.
    pub(crate) fn sent(&self) -> &[Option<String>] {
        &self.sent
    }

    /// Whether a message of the event spoke of the action with this token, or what was told of led to it.
    pub(crate) fn played(&self, token: &str) -> bool {
        self.tokens.contains(token)
    }

    /// Whether all that was sent has arrived.
    pub(crate) fn is_delivered(&self, world: &World) -> bool {
        world.now > self.sent_at + world.aws.events.delivery.delay_ms.end()
    }

    /// Brings what is true by now, and says what interruptions were told of.
    pub(crate) fn deliver(&mut self, world: &mut World) -> Vec<Word> {
        let mut words = Vec::new();
        if !self.plays.contains(&true) {
            self.deliver_others(world, &mut words);
        }
        while let Some(own) = world.aws.events.events_log.get(self.seen).cloned() {
            self.seen += 1;
            // What has no detail-type is what this post brought.
            if own.detail_type.ends_with("Lifecycle Action") {
                self.deliver_action(world, own.body, &mut words);
            } else if !own.detail_type.is_empty() && self.is_struck() {
                self.deliver_interruption(world, &own.body, &mut words);
            }
        }
        words
    }

    fn is_struck(&self) -> bool {
        self.parts.iter().any(|part| part.act.blow().is_some())
    }

    fn deliver_action(&mut self, world: &mut World, own: String, words: &mut Vec<Word>) {
        let Some((instance, hook, time)) = action(&own) else {
            self.send(world, QUEUE, own);
            return;
        };
        let struck = |part: &Part| part.instance == instance && part.act.blow().is_some();
        if self.parts.iter().any(struck) {
            self.tokens.insert(hook.token.expose().to_owned());
        }
        let same = |message: &Message| {
            message.hook().is_some_and(|(named, said)| {
                named == instance && said.hook == hook.hook && said.transition == hook.transition
            })
        };
        let found = self.unsent(same);
        for index in &found {
            let body = &self.script.messages[*index].body;
            let body = of_action(body, hook.token.expose(), &time);
            self.tokens.insert(hook.token.expose().to_owned());
            self.send_message(world, QUEUE, (*index, body));
        }
        if found.is_empty() {
            self.send(world, QUEUE, own);
        } else {
            self.deliver_others(world, words);
        }
    }

    /// Sends the messages that tell of the same as the world's own event, or else that.
    fn deliver_interruption(&mut self, world: &mut World, own: &str, words: &mut Vec<Word>) {
        let Ok(said) = parse(own) else { return };
        let found = self.unsent(|message| tells_of(message, &said));
        for index in &found {
            let end = serde_json::from_str::<Value>(own).unwrap_or_default();
            let end = end["detail"]["end-date"].as_str().map(str::to_owned);
            self.deliver_told(world, *index, end.as_deref(), words);
        }
        if !found.is_empty() {
            self.deliver_others(world, words);
            return;
        }
        if let Parsed::Signals(signals) = &said {
            if signals.iter().any(|signal| self.is_lost(signal)) {
                return;
            }
            let news = signals.iter().filter(|signal| self.is_news(signal));
            words.extend(news.filter_map(word));
        }
        let own = self.renamed(own, &said);
        self.send(world, INTERRUPTION_QUEUE, own);
    }

    /// The messages that are still to be sent in the place of the world's own.
    fn unsent(&self, same: impl Fn(&Message) -> bool) -> Vec<usize> {
        let due = |index: &usize| {
            self.plays[*index] && self.sent[*index].is_none() && same(&self.script.messages[*index])
        };
        (0..self.plays.len()).filter(due).collect()
    }

    /// Whether the event that the file tells of is the first that is heard of this end: what came before it was lost.
    fn is_lost(&self, signal: &Signal) -> bool {
        let state = match signal.kind {
            SignalKind::Interruption(Interruption { cause: Cause::State(state), .. }) => state,
            SignalKind::Interruption(_) | SignalKind::Hook(_) => return false,
        };
        let first = matches!(state, InstanceState::Stopping | InstanceState::ShuttingDown);
        let last = Some(Heard::Last);
        first
            && self.part(signal).and_then(|part| part.act.blow()).is_some_and(|blow| match blow {
                Blow::Stopped(heard) | Blow::Terminated(heard) => Some(heard) == last,
                _ => false,
            })
    }

    /// Whether people want to read of it: what comes for an instance that plays, but for what is to be seen anyway.
    fn is_news(&self, signal: &Signal) -> bool {
        let shown = |interruption: &Interruption| !matches!(interruption.cause, Cause::State(_));
        self.part(signal).is_some()
            && matches!(&signal.kind, SignalKind::Interruption(interruption) if shown(interruption))
    }

    fn part(&self, signal: &Signal) -> Option<&Part> {
        self.parts.iter().find(|part| part.instance == signal.instance.as_str())
    }

    /// The world's own Health event with the file's `eventArn`: it is about the same change.
    fn renamed(&self, own: &str, said: &Parsed) -> String {
        let arn = |signals: &[Signal]| {
            signals.iter().find_map(|signal| match &signal.kind {
                SignalKind::Interruption(Interruption {
                    cause: Cause::Maintenance(it), ..
                }) => Some((signal.instance.clone(), it.arn.clone())),
                SignalKind::Interruption(_) | SignalKind::Hook(_) => None,
            })
        };
        let Parsed::Signals(signals) = said else { return own.to_owned() };
        let Some((instance, from)) = arn(signals) else { return own.to_owned() };
        let mut known = self.script.messages.iter().filter_map(|message| arn(message.signals()));
        match known.find(|(named, _)| *named == instance) {
            Some((_, to)) => own.replace(&from, &to),
            None => own.to_owned(),
        }
    }

    fn deliver_others(&mut self, world: &mut World, words: &mut Vec<Word>) {
        for index in 0..self.plays.len() {
            if self.plays[index] || self.sent[index].is_some() {
                continue;
            }
            if self.is_struck() {
                self.deliver_told(world, index, None, words);
            } else {
                self.send_message(world, QUEUE, (index, self.script.messages[index].body.clone()));
            }
        }
    }

    /// Sends a message of the file about an interruption, told now.
    fn deliver_told(
        &mut self,
        world: &mut World,
        index: usize,
        end: Option<&str>,
        words: &mut Vec<Word>,
    ) {
        let message = &self.script.messages[index];
        let mut body = of_interruption(&message.body, told(message), whole_second(world.now));
        if let Some(end) = end {
            body = ending_at(&body, end);
        }
        match parse(&body) {
            Ok(Parsed::Signals(signals)) => {
                let ours = signals.iter().filter(|signal| self.part(signal).is_some());
                words.extend(ours.filter_map(word));
            }
            Ok(Parsed::Reservation(reservation)) => {
                let id = reservation.id.as_str();
                let inside =
                    self.parts.iter().filter(|part| part.reservation.as_deref() == Some(id));
                let ids = inside.filter_map(|part| part.instance.parse().ok());
                words.extend(ids.filter_map(|instance| word(&reservation.signal(instance))));
            }
            Ok(Parsed::Ignored(_)) | Err(_) => {}
        }
        self.send_message(world, INTERRUPTION_QUEUE, (index, body));
    }

    fn send_message(&mut self, world: &mut World, queue: &str, (index, body): (usize, String)) {
        self.send(world, queue, body.clone());
        self.sent[index] = Some(body);
    }

    fn send(&mut self, world: &mut World, queue: &str, body: String) {
        EventBridge::notify(world, queue, body);
        self.sent_at = world.now;
    }
}

/// Whether the world will tell by itself of what a message speaks of.
fn plays(message: &Message, parts: &[Part]) -> bool {
    let is = |part: &Part, instance: &str| part.instance == instance;
    if let Some((instance, hook)) = message.hook() {
        return parts.iter().any(|part| is(part, instance) && part.act == Act::of(hook));
    }
    if let Content::Reservation(reservation) = &message.content {
        let id = reservation.id.as_str();
        return parts.iter().any(|part| part.reservation.as_deref() == Some(id));
    }
    message.signals().iter().any(|signal| {
        let mut mine = parts.iter().filter(|part| is(part, signal.instance.as_str()));
        let SignalKind::Interruption(interruption) = &signal.kind else { return false };
        let blow = Blow::of(interruption, signal.sent_at.unwrap_or(Timestamp::EPOCH));
        mine.any(|part| part.act == Act::Struck(blow)) && blow != Blow::Failing
    })
}

/// The instance, the hook and the time of the world's own lifecycle action.
fn action(own: &str) -> Option<(String, HookSignal, String)> {
    let Ok(Parsed::Signals(signals)) = parse(own) else { return None };
    let value = serde_json::from_str::<Value>(own).ok()?;
    let (instance, hook) =
        signals.iter().find_map(|signal| Some((&signal.instance, signal.hook()?)))?;
    Some((instance.as_str().to_owned(), hook.clone(), value["time"].as_str()?.to_owned()))
}

/// Whether a message of the file tells of the same as an event of the world's.
fn tells_of(message: &Message, own: &Parsed) -> bool {
    match (&message.content, own) {
        (Content::Reservation(said), Parsed::Reservation(own)) => said.id == own.id,
        (Content::Signals(said), Parsed::Signals(own)) => said.iter().any(|said| {
            own.iter().any(|own| said.instance == own.instance && is_same(&said.kind, &own.kind))
        }),
        _ => false,
    }
}

fn is_same(said: &SignalKind, own: &SignalKind) -> bool {
    let (SignalKind::Interruption(said), SignalKind::Interruption(own)) = (said, own) else {
        return false;
    };
    match (&said.cause, &own.cause) {
        (Cause::Maintenance(said), Cause::Maintenance(own)) => said.closed == own.closed,
        (Cause::State(said), Cause::State(own)) => said == own,
        (said, own) => said.label() == own.label(),
    }
}

/// When the file says that a message was sent.
fn told(message: &Message) -> Option<Timestamp> {
    match &message.content {
        Content::Signals(signals) => signals.iter().find_map(|signal| signal.sent_at),
        Content::Reservation(reservation) => reservation.sent_at,
        Content::Ignored(_) | Content::Unreadable(_) => None,
    }
}

/// An interruption in words: what it is, and how much time it leaves.
fn word(signal: &Signal) -> Option<Word> {
    let SignalKind::Interruption(interruption) = &signal.kind else { return None };
    let (instance, cause) = (signal.instance.as_str().to_owned(), &interruption.cause);
    let is_closed =
        |cause: &Cause| matches!(cause, Cause::Maintenance(maintenance) if maintenance.closed);
    let left = match interruption.due {
        Due::After(notice) if notice > Duration::ZERO => format!(": {} left", human(notice)),
        Due::At(at) if !is_closed(cause) => match signal.sent_at {
            Some(told) => format!(": {} left", human(told.until(at))),
            None => format!(": at {at}"),
        },
        Due::Unknown | Due::After(_) | Due::At(_) => String::new(),
    };
    let text = match cause {
        Cause::State(state) => format!("EC2 says that the instance is {state}"),
        cause => format!("{cause}{left}"),
    };
    Some(Word { instance, text })
}
