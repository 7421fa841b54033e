//! Where in a request a mistake is.

use serde::de::MapAccess;

use super::Reading;
use crate::openai::tool;
use crate::openai::wire::{Fault, Fields, List, Object};

/// A request that is not right, read once more to say in which place.
#[derive(Default)]
pub(super) struct Placing(pub(super) Reading);

impl<'de> Fields<'de> for Placing {
    const EXPECTED: &'static str = Reading::EXPECTED;

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        if key != "tools" {
            return self.0.field(key, map);
        }
        self.0.once(key);
        let list: Option<List<Object<tool::Reading>>> = map.next_value()?;
        self.0.offer(key, list.map(tool::offer));
        Ok(())
    }

    fn complete(&mut self) -> Result<(), Fault> {
        self.0.complete()
    }
}
