//! Near duplicates: MinHash signatures of word 3-grams (Broder 1997), found by
//! bands (Leskovec, Rajaraman and Ullman, *Mining of Massive Datasets*, §3.4)
//! and held against the real similarity.

use std::collections::HashMap;

use crate::part_alone::Turn;
use crate::question::{Key, jaccard, mix, shingles};

/// Minima of a signature. The estimate's standard error at 0.9 is 0.027.
const HASHES: usize = 128;

/// Minima of a band: 16 bands of 8 meet in at least one with a probability of
/// 0.9999 at a similarity of 0.9, and of 0.06 at 0.5.
const BAND: usize = 8;

/// Parts looked at in a band's bucket, the latest first. Parts out of one
/// template lie in one bucket by the thousand, and all pairs would be too many.
const LOOKED_AT: usize = 32;

/// Of those the ones whose real similarity is taken, the likeliest first.
const COMPARED: usize = 4;

/// How far under the bar an estimate may lie to be worth the comparison.
const SLACK: f64 = 0.08;

/// The signature of a part.
pub(crate) struct Signature(Box<[u32; HASHES]>);

impl Signature {
    fn of(turns: &[Turn], hashes: &[(u64, u64); HASHES]) -> Self {
        let mut least = Box::new([u32::MAX; HASHES]);
        for gram in shingles(turns) {
            for (slot, (a, b)) in least.iter_mut().zip(hashes) {
                let value = gram.wrapping_mul(*a).wrapping_add(*b) >> 32;
                let value = value as u32;
                *slot = (*slot).min(value);
            }
        }
        Self(least)
    }

    fn alike(&self, other: &Self) -> f64 {
        let same = self.0.iter().zip(other.0.iter()).filter(|(a, b)| a == b).count();
        same as f64 / HASHES as f64
    }

    fn bands(&self, label: &Key) -> impl Iterator<Item = u64> {
        let seed = label.iter().fold(0, |h, b| mix(h ^ u64::from(*b)));
        self.0
            .chunks_exact(BAND)
            .enumerate()
            .map(move |(i, band)| band.iter().fold(mix(seed ^ i as u64), |h, v| mix(h ^ u64::from(*v))))
    }
}

/// Multiply-shift hashes (Dietzfelbinger et al. 1997): an odd factor and a summand each.
fn hashes() -> [(u64, u64); HASHES] {
    std::array::from_fn(|i| (mix(2 * i as u64) | 1, mix(2 * i as u64 + 1)))
}

/// The signatures of parts, on a thread a core, four at most.
pub(crate) fn signatures(parts: &[&[Turn]]) -> Vec<Signature> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(4);
    let size = parts.len().div_ceil(threads).max(1);
    let hashes = &hashes();
    std::thread::scope(|scope| {
        let running: Vec<_> = parts
            .chunks(size)
            .map(|chunk| {
                scope.spawn(move || chunk.iter().map(|p| Signature::of(p, hashes)).collect::<Vec<_>>())
            })
            .collect();
        running
            .into_iter()
            .flat_map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

/// Parts that were met, each the first of its kind.
pub(crate) struct Met<'a> {
    parts: &'a [&'a [Turn]],
    labels: &'a [Key],
    signatures: &'a [Signature],
    buckets: HashMap<u64, Vec<u32>>,
}

impl<'a> Met<'a> {
    pub(crate) fn new(parts: &'a [&'a [Turn]], labels: &'a [Key], signatures: &'a [Signature]) -> Self {
        Self { parts, labels, signatures, buckets: HashMap::new() }
    }

    /// The part that was met earlier and is as alike as `near` with the same
    /// label; else the part is met now, and the next ones are held against it.
    pub(crate) fn meet(&mut self, i: usize, near: f64) -> Option<usize> {
        let (label, own) = (self.labels.get(i)?, self.signatures.get(i)?);
        let mut found: Vec<u32> = Vec::new();
        for band in own.bands(label) {
            if let Some(there) = self.buckets.get(&band) {
                found.extend(there.iter().rev().take(LOOKED_AT));
            }
        }
        found.sort_unstable();
        found.dedup();
        let mut likely: Vec<(f64, usize)> = found
            .into_iter()
            .filter_map(|j| {
                let j = j as usize;
                let same_label = self.labels.get(j) == Some(label);
                let alike = self.signatures.get(j)?.alike(own);
                (same_label && alike >= near - SLACK).then_some((alike, j))
            })
            .collect();
        likely.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        if !likely.is_empty() {
            let grams = shingles(self.parts.get(i)?);
            let hit =
                likely.into_iter().take(COMPARED).map(|(_, j)| j).find(|j| {
                    self.parts.get(*j).is_some_and(|other| jaccard(&grams, &shingles(other)) >= near)
                });
            if hit.is_some() {
                return hit;
            }
        }
        let place = u32::try_from(i).ok()?;
        for band in own.bands(label) {
            self.buckets.entry(band).or_default().push(place);
        }
        None
    }
}
