//! Who plays: a part for each instance that the event speaks of.

use crate::demo::act::Act;
use crate::demo::blow::Blow;
use crate::demo::cue::{Content, Script};
use decision::signal::{Interruption, Signal, SignalKind};
use decision::time::Timestamp;
use std::time::Duration;

/// The instances of a capacity block, which no event names.
const BLOCK: [&str; 2] = ["i-0b000000000000001", "i-0b000000000000002"];

/// An instance's part in the demo.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// The instance.
    pub(crate) instance: String,
    /// Its Auto Scaling group.
    pub(crate) asg: String,
    /// What happens to it.
    pub(crate) act: Act,
    /// The capacity reservation that it runs in.
    pub(crate) reservation: Option<String>,
}

/// Who plays. An event that speaks of lifecycle actions plays these; what else is in it is somebody else's, since no
/// instance of theirs is known by it.
pub(crate) fn cast(script: &Script) -> Vec<Part> {
    let held = held(script);
    if held.is_empty() { interrupted(script) } else { held }
}

/// One part for each instance, after the latest event about it. What is older is played too, as the late message that
/// it is.
fn held(script: &Script) -> Vec<Part> {
    let mut parts: Vec<(Option<Timestamp>, Part)> = Vec::new();
    for signal in script.messages.iter().flat_map(|message| message.signals()) {
        let Some(hook) = signal.hook() else { continue };
        let part = Part {
            instance: signal.instance.as_str().to_owned(),
            asg: hook.asg.as_str().to_owned(),
            act: Act::of(hook),
            reservation: None,
        };
        match parts.iter_mut().find(|(_, known)| known.instance == part.instance) {
            None => parts.push((signal.sent_at, part)),
            Some(known) if signal.sent_at >= known.0 => *known = (signal.sent_at, part),
            Some(_) => {}
        }
    }
    parts.into_iter().map(|(_, part)| part).collect()
}

/// One part for each instance, after what takes it first.
fn interrupted(script: &Script) -> Vec<Part> {
    let mut parts: Vec<(Duration, Part)> = Vec::new();
    let mut play = |signal: &Signal, interruption: &Interruption, reservation: Option<&str>| {
        let told = signal.sent_at.unwrap_or(Timestamp::EPOCH);
        let notice = interruption.hard(told).map_or(Duration::MAX, |hard| told.until(hard));
        let blow = Blow::of(interruption, told);
        let part = Part {
            instance: signal.instance.as_str().to_owned(),
            asg: blow.group().to_owned(),
            act: Act::Struck(blow),
            reservation: reservation.map(str::to_owned),
        };
        match parts.iter_mut().find(|(_, known)| known.instance == part.instance) {
            None => parts.push((notice, part)),
            Some(known) if notice < known.0 => *known = (notice, part),
            Some(_) => {}
        }
    };
    for message in &script.messages {
        match &message.content {
            Content::Signals(signals) => {
                for signal in signals {
                    if let SignalKind::Interruption(interruption) = &signal.kind {
                        play(signal, interruption, None);
                    }
                }
            }
            Content::Reservation(reservation) => {
                for instance in BLOCK.iter().filter_map(|id| id.parse().ok()) {
                    let signal = reservation.signal(instance);
                    if let SignalKind::Interruption(interruption) = &signal.kind {
                        play(&signal, interruption, Some(reservation.id.as_str()));
                    }
                }
            }
            Content::Ignored(_) | Content::Unreadable(_) => {}
        }
    }
    parts.into_iter().map(|(_, part)| part).collect()
}
