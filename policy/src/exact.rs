//! Numbers that survive a checkpoint bit for bit.
//!
//! JSON readers may be off by the last bit of a double of 17 digits, and a replay
//! must equal a restart. So the ledger's sums are written as their bits, and
//! what comes from outside is rounded to millionths at the door ([`door`]):
//! fifteen digits or fewer are read back exactly, and a bit lost before the
//! door is rounded away.

use serde::{Deserialize, Deserializer, Serializer};

pub(crate) fn serialize<S: Serializer>(value: &f64, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_u64(value.to_bits())
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<f64, D::Error> {
    u64::deserialize(d).map(f64::from_bits)
}

pub(crate) mod array {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(values: &[f64; 6], s: S) -> Result<S::Ok, S::Error> {
        values.map(f64::to_bits).serialize(s)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<[f64; 6], D::Error> {
        <[u64; 6]>::deserialize(d).map(|bits| bits.map(f64::from_bits))
    }
}

/// Millionths, and no more than 10⁹ of anything.
const GRAIN: f64 = 1e6;

/// Rounds a figure from outside to millionths; what is not a number becomes 0.
pub(crate) fn door(value: f64) -> f64 {
    if value.is_nan() { 0.0 } else { (value.clamp(-1e9, 1e9) * GRAIN).round() / GRAIN }
}

/// The least figure from outside that the door rounds up to this one.
pub(crate) fn before_door(value: f64) -> f64 {
    value - 0.5 / GRAIN
}

/// A mean of the last `window` values or so, each older one weighing less.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Recent {
    #[serde(with = "crate::exact")]
    mean: f64,
    count: u64,
    window: u32,
}

impl Recent {
    pub(crate) fn new(window: u32) -> Self {
        Self { mean: 0.0, count: 0, window: window.max(1) }
    }

    pub(crate) fn push(&mut self, x: f64) {
        self.count += 1;
        self.mean += (x - self.mean) / self.effective();
    }

    /// How many values the mean stands on: all of them at first, later the window.
    pub(crate) fn effective(&self) -> f64 {
        (self.count as f64).min(f64::from(self.window))
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn mean(&self) -> Option<f64> {
        (self.count > 0).then_some(self.mean)
    }
}
