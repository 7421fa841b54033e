//! Which part of the set a conversation is in.

use understudy_call::ConversationKey;

use crate::{Rules, Split};

/// The part of a conversation: a function of its key and the shares alone, so
/// that it stays in its part however much traffic follows. The key is itself a
/// keyed hash; hashing it again under a name of its own makes the draw
/// independent of the canary's and the control group's.
pub(crate) fn of(conversation: ConversationKey, rules: &Rules) -> Split {
    let drawn = blake3::derive_key("understudy 2026-11 curriculum: split", &conversation.0);
    let mut first = [0; 8];
    first.copy_from_slice(&drawn[..8]);
    // 53 bits are a double's.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    let u = (u64::from_le_bytes(first) >> 11) as f64 / (1u64 << 53) as f64;
    if u < rules.held {
        Split::Held
    } else if u < rules.held + rules.development {
        Split::Development
    } else {
        Split::Train
    }
}
