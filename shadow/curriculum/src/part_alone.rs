//! The part alone, in text, as the understudy will be asked with it.

use understudy_call::Role;
use understudy_cast::specialised::{self, CALLS};
use understudy_tasks::Part;

/// A turn as it is learnt. A whole message takes ten times the room.
pub(crate) type Turn = (Role, String);

/// The turns of a part.
pub(crate) fn turns(part: &Part) -> Vec<Turn> {
    specialised::messages(part, CALLS, true).into_iter().map(|m| (m.role, m.text())).collect()
}
