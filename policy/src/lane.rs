//! What is done with one call: a pure function of the roster and two hashes.
//!
//! Control and canary are drawn per conversation, from different bytes of its
//! key: while that is the same, retries and other pods agree and a conversation
//! stays where it began. Audit and trial are drawn per call, from the call's own hash before
//! any answer is seen; a different constant keeps each draw apart.

use understudy_call::{ConversationKey, Lane};

use crate::{RosterTask, Stage};

const AUDIT: u64 = 0x6175_6469_7464_7261;
const TRIAL: u64 = 0x7472_6961_6c64_7261;

/// Chooses the lane of a call. `call_draw` is a keyed hash of the call's body.
/// The kill switch and eligibility are the gateway's to look at first.
#[must_use]
pub fn choose(task: &RosterTask, conversation: ConversationKey, call_draw: u64) -> Lane {
    if !matches!(task.stage, Stage::Canary { .. } | Stage::Live) || task.entries.is_empty() {
        return Lane::Provider;
    }
    if control_drawn(conversation, task.control) {
        return Lane::Control;
    }
    if !canary_drawn(conversation, task.share) {
        return Lane::Provider;
    }
    let tried = task.successor_for(conversation).is_some();
    if tried || share_of(mixed(call_draw ^ AUDIT)) < task.audit { Lane::Audit } else { Lane::Understudy }
}

/// Whether a conversation stays with the provider for good (first four bytes of its key).
#[must_use]
pub fn control_drawn(conversation: ConversationKey, share: f64) -> bool {
    let [a, b, c, d, ..] = conversation.0;
    f64::from(u32::from_le_bytes([a, b, c, d])) / 4_294_967_296.0 < share
}

/// Whether a conversation is in the canary (next four bytes). A larger share
/// keeps every conversation that a smaller one drew.
#[must_use]
pub fn canary_drawn(conversation: ConversationKey, share: f64) -> bool {
    let [_, _, _, _, a, b, c, d, ..] = conversation.0;
    f64::from(u32::from_le_bytes([a, b, c, d])) / 4_294_967_296.0 < share
}

/// Whether a captured call becomes a trial, where only a share of them does.
#[must_use]
pub fn trial_drawn(call_draw: u64, share: f64) -> bool {
    share_of(mixed(call_draw ^ TRIAL)) < share
}

fn share_of(hash: u64) -> f64 {
    (hash >> 11) as f64 / 9_007_199_254_740_992.0
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014): every bit of the
/// result depends on every bit of the argument.
fn mixed(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        reason = "tests"
    )]
    use rand::{Rng, SeedableRng};
    use understudy_call::{FormHash, UnderstudyId};

    use super::*;
    use crate::{RosterEntry, TaskId};

    fn task(stage: Stage, share: f64, audit: f64) -> RosterTask {
        RosterTask {
            task: TaskId(1),
            name: "t".into(),
            form: FormHash([0; 16]),
            credential: None,
            stage,
            share,
            audit,
            control: 0.05,
            budget_ms: 500.0,
            entries: vec![RosterEntry {
                k: 1,
                understudy: UnderstudyId("u".into()),
                bar: 0.0,
                strata: vec![],
                weak: vec![],
            }],
            successor: None,
            models: vec![],
        }
    }

    #[test]
    fn draws_have_their_shares_and_are_independent() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(7);
        let task = task(Stage::Canary { step: 0 }, 0.5, 0.2);
        let (mut control, mut served, mut audit, mut trial, mut both) = (0, 0, 0, 0, 0);
        let n = 100_000;
        for _ in 0..n {
            let key = ConversationKey(rng.random());
            let draw: u64 = rng.random();
            let lane = choose(&task, key, draw);
            assert_eq!(lane, choose(&task, key, draw));
            control += u32::from(lane == Lane::Control);
            served += u32::from(matches!(lane, Lane::Understudy | Lane::Audit));
            audit += u32::from(lane == Lane::Audit);
            let t = trial_drawn(draw, 0.3);
            trial += u32::from(t);
            both += u32::from(t && lane == Lane::Audit);
        }
        let share = |k: u32| f64::from(k) / f64::from(n);
        assert!((share(control) - 0.05).abs() < 0.004);
        assert!((share(served) - 0.95 * 0.5).abs() < 0.008);
        assert!((share(audit) - 0.95 * 0.5 * 0.2).abs() < 0.005);
        assert!((share(both) - share(audit) * share(trial)).abs() < 0.003);
    }

    #[test]
    fn a_successor_has_its_conversations_to_itself_and_all_are_audited() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(9);
        let mut task = task(Stage::Live, 1.0, 0.0);
        let entry = RosterEntry { k: 2, ..task.entries[0].clone() };
        task.successor = Some(crate::Successor { share: 0.1, entry });
        let mut tried = 0;
        for _ in 0..10_000 {
            let key = ConversationKey(rng.random());
            let [who] = task.entries_for(key) else { panic!() };
            let lane = choose(&task, key, rng.random());
            if lane != Lane::Control {
                assert_eq!(lane == Lane::Audit, who.k == 2);
                tried += u32::from(who.k == 2);
            }
        }
        assert!((850..1050).contains(&tried), "{tried}"); // 950 of the 9,500 outside the control group
    }

    #[test]
    fn nothing_is_served_before_canary() {
        for stage in [Stage::Observing, Stage::Shadowing] {
            assert_eq!(choose(&task(stage, 1.0, 1.0), ConversationKey([255; 16]), 3), Lane::Provider);
        }
        let mut live = task(Stage::Live, 1.0, 0.0);
        assert_eq!(choose(&live, ConversationKey([255; 16]), 3), Lane::Understudy);
        live.entries.clear();
        assert_eq!(choose(&live, ConversationKey([255; 16]), 3), Lane::Provider);
    }

    #[test]
    fn a_larger_step_keeps_the_conversations_of_the_smaller() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(8);
        for _ in 0..10_000 {
            let key = ConversationKey(rng.random());
            assert!(!canary_drawn(key, 0.1) || canary_drawn(key, 0.5));
        }
    }
}
