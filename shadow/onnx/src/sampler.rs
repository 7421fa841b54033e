//! Draws one token from a row of logits.

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use toktrie::SimpleVob;

/// A drawn token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Drawn {
    pub(crate) id: u32,
    /// Natural logarithm of its probability under the model's own softmax:
    /// temperature 1, nothing masked.
    pub(crate) logprob: f64,
}

/// Greedy at temperature 0, else drawn from the nucleus with a seeded generator.
pub(crate) struct Sampler {
    temperature: f32,
    top_p: f32,
    rng: ChaCha8Rng,
    order: Vec<(f32, u32)>,
}

impl Sampler {
    pub(crate) fn new(temperature: f32, top_p: f32, seed: u64) -> Self {
        Self { temperature, top_p, rng: ChaCha8Rng::seed_from_u64(seed), order: Vec::new() }
    }

    /// `None` when nothing is allowed or the logits are not numbers.
    pub(crate) fn draw(&mut self, logits: &[f32], allowed: Option<&SimpleVob>) -> Option<Drawn> {
        let id =
            if self.temperature <= 0.0 { greedy(logits, allowed) } else { self.nucleus(logits, allowed) }?;
        let logit = f64::from(*logits.get(id as usize)?);
        Some(Drawn { id, logprob: logit - log_sum_exp(logits) })
    }

    fn nucleus(&mut self, logits: &[f32], allowed: Option<&SimpleVob>) -> Option<u32> {
        self.order.clear();
        for (id, &logit) in (0u32..).zip(logits) {
            if logit.is_finite() && is_allowed(allowed, id) {
                self.order.push((logit / self.temperature, id));
            }
        }
        let top = self.order.iter().map(|o| o.0).fold(f32::NEG_INFINITY, f32::max);
        for o in &mut self.order {
            o.0 = (o.0 - top).exp();
        }
        // Greatest first, ties by id, so that a seed means one sequence everywhere.
        self.order.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let whole: f32 = self.order.iter().map(|o| o.0).sum();
        let mut kept = 0.0;
        let mut len = 0;
        for o in &self.order {
            kept += o.0;
            len += 1;
            if kept >= self.top_p * whole {
                break;
            }
        }
        let mut left = self.rng.random::<f32>() * kept;
        for o in self.order.iter().take(len) {
            left -= o.0;
            if left <= 0.0 {
                return Some(o.1);
            }
        }
        self.order.get(len.checked_sub(1)?).map(|o| o.1)
    }
}

fn is_allowed(allowed: Option<&SimpleVob>, id: u32) -> bool {
    allowed.is_none_or(|mask| (id as usize) < mask.len() && mask.is_allowed(id))
}

fn greedy(logits: &[f32], allowed: Option<&SimpleVob>) -> Option<u32> {
    let mut best: Option<(f32, u32)> = None;
    let mut look = |id: u32, logit: f32| {
        if !logit.is_nan() && best.is_none_or(|(b, _)| logit > b) {
            best = Some((logit, id));
        }
    };
    match allowed {
        None => (0u32..).zip(logits).for_each(|(id, &l)| look(id, l)),
        Some(mask) => mask.iter().for_each(|id| {
            if let Some(&l) = logits.get(id as usize) {
                look(id, l);
            }
        }),
    }
    best.map(|b| b.1)
}

/// Rules these tokens out, unless the model's own softmax gives them `least` together.
pub(crate) fn unless_likely(ids: &[u32], least: f64, logits: &[f32], allowed: &mut SimpleVob) {
    let whole = log_sum_exp(logits);
    let of = ids.iter().filter_map(|id| logits.get(*id as usize));
    if of.map(|l| (f64::from(*l) - whole).exp()).sum::<f64>() < least {
        ids.iter().for_each(|id| allowed.disallow_token(*id));
    }
}

fn log_sum_exp(logits: &[f32]) -> f64 {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&l| f64::from((l - top).exp())).sum();
    f64::from(top) + sum.ln()
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
    use super::*;

    fn mask(ids: &[u32], len: usize) -> SimpleVob {
        let mut m = SimpleVob::alloc(len);
        for &i in ids {
            m.allow_token(i);
        }
        m
    }

    #[test]
    fn tokens_that_must_be_likely_are_ruled_out_where_they_are_not() {
        // Of 1, 2 and 5 eighths: the last two have 7 together.
        let logits = [0.0, 2.0_f32.ln(), 5.0_f32.ln()];
        for (least, first) in [(0.87, 2), (0.88, 0)] {
            let mut allowed = mask(&[0, 1, 2], 3);
            unless_likely(&[1, 2], least, &logits, &mut allowed);
            let drawn = Sampler::new(0.0, 1.0, 0).draw(&logits, Some(&allowed)).unwrap();
            assert_eq!(drawn.id, first);
            // Its probability is the model's own all the same.
            let own = (f64::from(logits[first as usize]) - 8.0_f64.ln()).abs();
            assert!((drawn.logprob.abs() - own).abs() < 1e-6, "{}", drawn.logprob);
        }
    }

    #[test]
    fn greedy_takes_the_greatest_logit_and_its_probability() {
        let logits = [0.0, 2.0, 1.0];
        let drawn = Sampler::new(0.0, 1.0, 0).draw(&logits, None).unwrap();
        assert_eq!(drawn.id, 1);
        let p = 2f64.exp() / (1.0 + 2f64.exp() + 1f64.exp());
        assert!((drawn.logprob - p.ln()).abs() < 1e-6);
    }

    #[test]
    fn a_masked_token_keeps_its_unmasked_probability() {
        let logits = [0.0, 2.0, 1.0];
        let drawn = Sampler::new(0.0, 1.0, 0).draw(&logits, Some(&mask(&[0, 2], 3))).unwrap();
        assert_eq!(drawn.id, 2);
        let p = 1f64.exp() / (1.0 + 2f64.exp() + 1f64.exp());
        assert!((drawn.logprob - p.ln()).abs() < 1e-6);
    }

    #[test]
    fn nothing_allowed_draws_nothing() {
        assert_eq!(Sampler::new(0.0, 1.0, 0).draw(&[1.0, 2.0], Some(&mask(&[], 2))), None);
        assert_eq!(Sampler::new(1.0, 1.0, 0).draw(&[1.0, 2.0], Some(&mask(&[], 2))), None);
        assert_eq!(Sampler::new(0.0, 1.0, 0).draw(&[], None), None);
    }

    #[test]
    fn a_seed_means_one_sequence() {
        let logits: Vec<f32> = (0..50).map(|i| (i % 7) as f32 / 3.0).collect();
        let run = |seed| {
            let mut s = Sampler::new(0.8, 0.9, seed);
            (0..40).map(|_| s.draw(&logits, None).unwrap().id).collect::<Vec<_>>()
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
    }

    #[test]
    fn the_nucleus_leaves_the_tail_out() {
        let logits = [5.0, 4.9, -3.0, -3.0];
        let mut s = Sampler::new(1.0, 0.9, 1);
        assert!((0..500).all(|_| s.draw(&logits, None).unwrap().id < 2));
    }

    #[test]
    fn draws_follow_the_softmax() {
        let logits = [0.0, 1.0];
        let mut s = Sampler::new(1.0, 1.0, 3);
        let ones = (0..20_000).filter(|_| s.draw(&logits, None).unwrap().id == 1).count();
        let share = ones as f64 / 20_000.0;
        assert!((share - 0.731).abs() < 0.015, "{share}");
    }
}
