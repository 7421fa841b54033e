//! What the provider was paid for, in the conversations that an understudy
//! might serve and in the control group that it never does: the difference is
//! what was saved, whatever audits, declines and longer conversations cost.

use std::collections::{HashMap, VecDeque};

use serde::{Deserialize, Serialize};
use understudy_call::{ConversationKey, Lane};
use understudy_policy::ExchangeSeen;

/// Conversations whose sums are remembered; a call of an older one begins another.
const OPEN: usize = 4_096;

/// Tokens of one call or conversation: in, of those cached, out.
pub type Tokens = [u64; 3];

/// Conversations of one arm.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Arm {
    /// How many.
    pub conversations: u64,
    /// Their calls.
    pub calls: u64,
    /// Tokens that the provider was paid for, summed.
    pub paid: Tokens,
    /// Sums of products of a conversation's paid tokens: in·in, in·cached,
    /// in·out, cached·cached, cached·out, out·out.
    pub products: [f64; 6],
}

impl Arm {
    /// Mean cost of a conversation and the variance of that mean, at `price` a
    /// token (in, cached, out). `None` for fewer than two.
    #[must_use]
    pub fn cost(&self, price: [f64; 3]) -> Option<(f64, f64)> {
        if self.conversations < 2 {
            return None;
        }
        let n = self.conversations as f64;
        let [i, c, o] = price;
        let sum: f64 = self.paid.iter().zip(price).map(|(tokens, p)| *tokens as f64 * p).sum();
        let weights = [i * i, 2.0 * i * c, 2.0 * i * o, c * c, 2.0 * c * o, o * o];
        let squares: f64 = self.products.iter().zip(weights).map(|(x, w)| x * w).sum();
        let mean = sum / n;
        let variance = (squares - n * mean * mean).max(0.0) / (n - 1.0);
        Some((mean, variance / n))
    }

    fn add(&mut self, before: Option<Tokens>, more: Tokens) -> Tokens {
        self.conversations += u64::from(before.is_none());
        self.calls += 1;
        let before = before.unwrap_or_default();
        let mut after = before;
        for (k, m) in more.into_iter().enumerate() {
            if let (Some(sum), Some(own)) = (self.paid.get_mut(k), after.get_mut(k)) {
                *sum += m;
                *own += m;
            }
        }
        for ((sum, new), old) in self.products.iter_mut().zip(products(after)).zip(products(before)) {
            *sum += new - old;
        }
        after
    }
}

fn products([i, c, o]: Tokens) -> [f64; 6] {
    let [i, c, o] = [i as f64, c as f64, o as f64];
    [i * i, i * c, i * o, c * c, c * o, o * o]
}

/// Both arms.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Arms {
    /// Conversations that were offered to an understudy.
    pub offered: Arm,
    /// The control group, while something was served.
    pub control: Arm,
}

/// The conversations that are being summed.
#[derive(Debug, Default)]
pub(super) struct Sums {
    /// Whether it is of the control group, and its sum.
    open: HashMap<ConversationKey, (bool, Tokens)>,
    order: VecDeque<ConversationKey>,
}

impl Sums {
    /// Counts a call's tokens in its arm. A conversation is in one from its first call
    /// on that could be answered, and with all that follow: the calls that nobody is
    /// asked are its cost too, and the control group's are all on the provider.
    pub(super) fn count(&mut self, arms: &mut Arms, seen: &ExchangeSeen, tokens: Tokens) {
        let key = seen.conversation;
        let before = self.open.get(&key).copied();
        let control = match (seen.lane, before) {
            (Lane::Understudy | Lane::Audit, _) => false,
            (Lane::Control, _) if seen.eligible => true,
            (_, Some((control, _))) => control,
            (_, None) => return,
        };
        let arm = if control { &mut arms.control } else { &mut arms.offered };
        if before.is_none() {
            self.order.push_back(key);
            while self.order.len() > OPEN {
                if let Some(old) = self.order.pop_front() {
                    self.open.remove(&old);
                }
            }
        }
        let sum = before.filter(|(of, _)| *of == control).map(|(_, sum)| sum);
        self.open.insert(key, (control, arm.add(sum, if is_paid(seen) { tokens } else { [0; 3] })));
    }
}

/// Whether the provider answered, alone or as examiner.
pub(super) fn is_paid(seen: &ExchangeSeen) -> bool {
    !seen.answered_by_understudy || seen.lane == Lane::Audit
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(conversation: u8, lane: Lane, answered: bool) -> ExchangeSeen {
        serde_json::from_value(serde_json::json!({
            "seq": 1, "conversation": ConversationKey([conversation; 16]), "lane": lane,
            "answered_by_understudy": answered,
        }))
        .unwrap()
    }

    #[test]
    fn calls_that_nobody_is_asked_are_a_conversation_s_cost_in_both_arms() {
        let unasked =
            |conversation, lane| ExchangeSeen { eligible: false, ..seen(conversation, lane, false) };
        let (mut sums, mut arms) = (Sums::default(), Arms::default());
        sums.count(&mut arms, &unasked(1, Lane::Provider), [7, 0, 0]);
        sums.count(&mut arms, &seen(1, Lane::Understudy, true), [10, 0, 1]);
        sums.count(&mut arms, &unasked(1, Lane::Provider), [20, 0, 2]);
        sums.count(&mut arms, &unasked(2, Lane::Control), [7, 0, 0]);
        sums.count(&mut arms, &seen(2, Lane::Control, false), [10, 0, 1]);
        sums.count(&mut arms, &unasked(2, Lane::Control), [20, 0, 2]);
        assert_eq!((arms.offered.calls, arms.offered.paid), (2, [20, 0, 2]));
        assert_eq!((arms.control.calls, arms.control.paid), (2, [30, 0, 3]));
    }

    #[test]
    fn a_conversation_s_calls_are_one_value_and_what_was_not_paid_costs_nothing() {
        let (mut sums, mut arms) = (Sums::default(), Arms::default());
        for (conversation, lane, answered, tokens) in [
            (1, Lane::Control, false, [10, 0, 1]),
            (1, Lane::Control, false, [20, 5, 1]),
            (2, Lane::Control, false, [50, 0, 4]),
            (3, Lane::Understudy, true, [99, 9, 9]),
            (4, Lane::Audit, true, [10, 0, 2]),
            (5, Lane::Provider, false, [77, 0, 7]),
        ] {
            sums.count(&mut arms, &seen(conversation, lane, answered), tokens);
        }
        assert_eq!((arms.control.conversations, arms.control.calls, arms.control.paid), (2, 3, [80, 5, 6]));
        // 30 and 50 tokens in: mean 40, variance 200, of the mean 100.
        assert_eq!(arms.control.cost([1.0, 0.0, 0.0]), Some((40.0, 100.0)));
        // Mixed price: 30 + 2·2 = 34 and 50 + 4·2 = 58.
        assert_eq!(arms.control.cost([1.0, 0.0, 2.0]), Some((46.0, 144.0)));
        assert_eq!((arms.offered.conversations, arms.offered.paid), (2, [10, 0, 2]));
        assert_eq!(Arm::default().cost([1.0; 3]), None);
    }
}
