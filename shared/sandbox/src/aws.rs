//! The account.
use crate::world::World;
#[derive(Clone, Debug)]
pub enum AwsEvent {}
#[derive(Debug, Default)]
pub struct Aws;
impl Aws {
    pub(crate) fn happen(_world: &mut World, event: AwsEvent) {
        match event {}
    }
}
