//! Rows unlike the task's own: far longer, or in another script.

use std::collections::BTreeMap;

use crate::part_alone::Turn;
use crate::script::script;

/// Under this many rows there is no telling what is usual.
const LEAST: usize = 50;

/// The least median absolute deviation of ln(length): where all rows are about
/// equally long, one that is a tenth longer is no outlier.
const LEAST_MAD: f64 = 0.1;

/// What makes the median absolute deviation a standard deviation where the
/// values are normal.
const TO_SIGMA: f64 = 1.4826;

/// Letters under which a part says nothing of its script.
const LEAST_LETTERS: usize = 10;

/// A task of which less is in one script is written in several.
const MAIN: f64 = 0.9;

/// The length over which a row is an outlier; `None` where too few rows tell.
pub(crate) fn length_limit(lengths: impl IntoIterator<Item = usize>, deviations: f64) -> Option<f64> {
    let mut logs: Vec<f64> = lengths.into_iter().map(|n| (n.max(1) as f64).ln()).collect();
    if logs.len() < LEAST {
        return None;
    }
    let middle = median(&mut logs)?;
    let mut off: Vec<f64> = logs.iter().map(|x| (x - middle).abs()).collect();
    let mad = median(&mut off)?.max(LEAST_MAD);
    Some((middle + deviations * TO_SIGMA * mad).exp())
}

fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Letters by script.
#[derive(Debug, Clone, Default)]
pub(crate) struct Letters(BTreeMap<&'static str, usize>);

impl Letters {
    /// Of what is said in a part; a tool's result speaks its own language.
    pub(crate) fn of(turns: &[Turn]) -> Self {
        let mut found = Self::default();
        for (role, text) in turns {
            if *role != understudy_call::Role::User {
                continue;
            }
            // Most text is ASCII, which needs no table.
            let latin = text.bytes().filter(u8::is_ascii_alphabetic).count();
            if latin > 0 {
                *found.0.entry("Latin").or_default() += latin;
            }
            for script in text.chars().filter(|c| !c.is_ascii()).filter_map(script) {
                *found.0.entry(script).or_default() += 1;
            }
        }
        found
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (script, n) in &other.0 {
            *self.0.entry(script).or_default() += n;
        }
    }

    fn all(&self) -> usize {
        self.0.values().sum()
    }

    /// The script of most letters, and its share.
    pub(crate) fn main(&self) -> Option<(&'static str, f64)> {
        let (script, n) = self.0.iter().max_by_key(|(_, n)| **n)?;
        Some((script, *n as f64 / self.all() as f64))
    }

    /// Whether the task has one script to be unlike.
    pub(crate) fn is_of_one_script(&self) -> bool {
        self.main().is_some_and(|(_, share)| share >= MAIN)
    }

    /// Whether a part of these letters is unlike a task whose script this is.
    pub(crate) fn is_unlike(&self, main: &str, least_share: f64) -> bool {
        let all = self.all();
        let own = self.0.get(main).copied().unwrap_or(0);
        all >= LEAST_LETTERS && (own as f64) < least_share * all as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use understudy_call::Role;

    #[test]
    fn a_length_is_far_out_only_by_the_measure_of_its_task() {
        let even: Vec<usize> = (0..100).map(|i| 100 + i % 3).collect();
        let limit = length_limit(even, 6.0).unwrap_or(0.0);
        assert!((200.0..300.0).contains(&limit), "{limit}");
        let wide: Vec<usize> = (0..100).map(|i| 10 << (i % 10)).collect();
        assert!(length_limit(wide, 6.0).unwrap_or(0.0) > 100_000.0);
        assert_eq!(length_limit([1; 49], 6.0), None);
    }

    #[test]
    fn a_script_is_told_by_its_letters() {
        let of = |text: &str| Letters::of(&[(Role::User, text.to_owned())]);
        assert_eq!(of("Spiel etwas Jazz, möglichst älter").main().map(|m| m.0), Some("Latin"));
        assert!(of("Поставь что-нибудь из джаза").is_unlike("Latin", 0.5));
        assert!(of("ジャズを再生してください").is_unlike("Latin", 0.5));
        assert!(!of("play Дорога by Кино on the kitchen speaker").is_unlike("Latin", 0.5));
        assert!(!of("да").is_unlike("Latin", 0.5), "two letters say nothing");
    }
}
