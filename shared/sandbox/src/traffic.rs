//! Requests from outside: each is served or dropped, with the cause.
use crate::world::{Millis, World};
#[derive(Clone, Debug)]
pub enum TrafficEvent {}
#[derive(Debug, Default)]
pub struct Traffic;
impl Traffic {
    pub(crate) fn account(_world: &mut World, _to: Millis) {}
    pub(crate) fn happen(_world: &mut World, event: TrafficEvent) {
        match event {}
    }
}
