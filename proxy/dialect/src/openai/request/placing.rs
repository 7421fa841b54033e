//! Where in a request a mistake is.

use serde::de::MapAccess;
use serde_json::Value;

use super::{Reading, format};
use crate::openai::tool;
use crate::openai::wire::{Fault, Fields, List, Object};

/// A request that is not right, read once more to say in which place.
#[derive(Default)]
pub(super) struct Placing(pub(super) Reading);

impl<'de> Fields<'de> for Placing {
    const EXPECTED: &'static str = Reading::EXPECTED;

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "tools" => {
                self.0.once(key);
                let list: Option<List<Object<tool::Reading>>> = map.next_value()?;
                self.0.offer(key, list.map(tool::offer));
            }
            "response_format" => {
                self.0.once(key);
                let given: Option<Value> = map.next_value()?;
                let asked = given.map(format::read).transpose().map_err(Fault::raise)?;
                self.0.format(key, asked);
            }
            _ => self.0.field(key, map)?,
        }
        Ok(())
    }

    fn complete(&mut self) -> Result<(), Fault> {
        self.0.complete()
    }
}
