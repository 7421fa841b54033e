//! Numbers kept small: embeddings as signed bytes, weights as text in a note.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Vectors of one dimension, each a row of signed bytes with its own scale: a
/// quarter of the memory of floats, cosines off by some thousandths.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Rows {
    dim: usize,
    scales: Floats,
    bytes: Bytes,
}

impl Rows {
    pub(crate) fn new(dim: usize) -> Self {
        Self { dim, ..Self::default() }
    }

    pub(crate) fn dim(&self) -> usize {
        self.dim
    }

    pub(crate) fn len(&self) -> usize {
        self.scales.0.len()
    }

    /// Adds a vector; one of another dimension is refused.
    #[must_use]
    pub(crate) fn push(&mut self, v: &[f32]) -> bool {
        if v.len() != self.dim || v.iter().any(|x| !x.is_finite()) {
            return false;
        }
        let most = v.iter().fold(0.0_f32, |m, x| m.max(x.abs()));
        let scale = if most > 0.0 { most / 127.0 } else { 1.0 };
        self.scales.0.push(scale);
        // Within ±127 by construction.
        self.bytes.0.extend(v.iter().map(|x| (x / scale).round() as i8));
        true
    }

    /// The inner product of each row with `v`, in order.
    pub(crate) fn dots<'a>(&'a self, v: &'a [f32]) -> impl Iterator<Item = f32> + 'a {
        let dim = self.dim.max(1);
        self.bytes.0.chunks_exact(dim).zip(&self.scales.0).map(move |(row, scale)| {
            // Eight sums, so that the compiler may use vector registers.
            let mut sums = [0.0_f32; 8];
            let (rows, vs) = (row.chunks_exact(8), v.chunks_exact(8));
            let rest: f32 = rows.remainder().iter().zip(vs.remainder()).map(|(b, x)| f32::from(*b) * x).sum();
            for (r, x) in rows.zip(vs) {
                for ((s, b), x) in sums.iter_mut().zip(r).zip(x) {
                    *s += f32::from(*b) * x;
                }
            }
            (sums.iter().sum::<f32>() + rest) * scale
        })
    }

    /// The vector of a row, as it is remembered.
    pub(crate) fn row(&self, i: usize) -> Option<Vec<f32>> {
        let scale = self.scales.0.get(i)?;
        let row = self.bytes.0.get(i * self.dim..(i + 1) * self.dim)?;
        Some(row.iter().map(|b| f32::from(*b) * scale).collect())
    }

    /// Whether its parts fit each other; what came from a note may not.
    pub(crate) fn is_whole(&self) -> bool {
        self.dim > 0 && self.bytes.0.len() == self.dim * self.scales.0.len()
    }

    pub(crate) fn hash(&self, h: &mut blake3::Hasher) {
        h.update(&(self.dim as u64).to_le_bytes());
        self.scales.hash(h);
        h.update(&(self.bytes.0.len() as u64).to_le_bytes());
        for b in self.bytes.0.chunks(4096) {
            h.update(&b.iter().map(|b| b.to_le_bytes()[0]).collect::<Vec<u8>>());
        }
    }
}

/// Floats that are written as base64 of their little-endian bytes.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Floats(pub(crate) Vec<f32>);

impl Floats {
    pub(crate) fn hash(&self, h: &mut blake3::Hasher) {
        h.update(&(self.0.len() as u64).to_le_bytes());
        for x in &self.0 {
            h.update(&x.to_le_bytes());
        }
    }
}

impl Serialize for Floats {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = self.0.iter().flat_map(|x| x.to_le_bytes()).collect();
        s.serialize_str(&BASE64.encode(bytes))
    }
}

impl<'de> Deserialize<'de> for Floats {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let bytes = decode(d)?;
        let (chunks, []) = bytes.as_chunks::<4>() else {
            return Err(de::Error::custom("floats need four bytes each"));
        };
        Ok(Self(chunks.iter().map(|c| f32::from_le_bytes(*c)).collect()))
    }
}

/// Signed bytes, likewise.
#[derive(Debug, Clone, Default, PartialEq)]
struct Bytes(Vec<i8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = self.0.iter().map(|b| b.to_le_bytes()[0]).collect();
        s.serialize_str(&BASE64.encode(bytes))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Ok(Self(decode(d)?.into_iter().map(|b| i8::from_le_bytes([b])).collect()))
    }
}

fn decode<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
    let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
    BASE64.decode(text.as_bytes()).map_err(|_| de::Error::custom("not base64"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn inner_products_survive_packing(v in prop::collection::vec(-1.0f32..1.0, 19), w in prop::collection::vec(-1.0f32..1.0, 19)) {
            let mut rows = Rows::new(19);
            prop_assert!(rows.push(&v));
            let exact: f32 = v.iter().zip(&w).map(|(a, b)| a * b).sum();
            let packed = rows.dots(&w).next().unwrap();
            prop_assert!((exact - packed).abs() < 0.01 * 19.0, "{} {}", exact, packed);
        }

        #[test]
        fn a_note_gives_the_same_rows_back(v in prop::collection::vec(-1.0f32..1.0, 7)) {
            let mut rows = Rows::new(7);
            prop_assert!(rows.push(&v));
            let back: Rows = serde_json::from_value(serde_json::to_value(&rows).unwrap()).unwrap();
            prop_assert_eq!(back, rows);
        }
    }

    #[test]
    fn a_vector_of_another_dimension_or_not_a_number_is_refused() {
        let mut rows = Rows::new(2);
        assert!(!rows.push(&[1.0]));
        assert!(!rows.push(&[1.0, f32::NAN]));
        assert_eq!(rows.len(), 0);
    }
}
