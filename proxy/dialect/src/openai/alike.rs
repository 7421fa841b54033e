//! What the calls of an agent bring word for word is read once.

use std::cell::RefCell;

use serde_json::value::RawValue;
use understudy_call::Latest;

/// Pieces of a kind that a thread remembers as they were written: all calls of an agent
/// bring the same, and reading tools or a schema takes half of the time that a call is
/// read in.
const REMEMBERED: usize = 8;
/// The longest of them, in bytes. What was read of one takes some five times as much.
const LONGEST: usize = 32 << 10;

/// The last pieces of a kind, with what was read of them.
pub(crate) type Alike<V> = RefCell<Latest<(Box<str>, V), REMEMBERED>>;

/// None yet.
pub(crate) const fn none<V>() -> Alike<V> {
    RefCell::new(Latest::new())
}

/// What was read of the same piece before, or is read now. `None`, for a piece that says
/// nothing, is not remembered.
pub(crate) fn once<V: Clone, E>(
    last: &Alike<V>,
    raw: &RawValue,
    read: impl FnOnce(&str) -> Result<Option<V>, E>,
) -> Result<Option<V>, E> {
    let (mut last, raw) = (last.borrow_mut(), raw.get());
    if let Some((_, known)) = last.find(|(text, _)| **text == *raw) {
        return Ok(Some(known.clone()));
    }
    let Some(new) = read(raw)? else { return Ok(None) };
    if raw.len() <= LONGEST {
        last.keep((raw.into(), new.clone()));
    }
    Ok(Some(new))
}
