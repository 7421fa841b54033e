//! An embedder that remembers: each version of each understudy of a task asks
//! for the same part, and each fit for the same exchanges. What one model made is
//! never given out as another's.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use understudy_call::{EmbedError, Embedder, Priority};

/// Vectors kept: at 384 dimensions some 13 MiB.
const KEPT: usize = 8_192;

/// Texts a request: enough to fill the engine's batches, few enough that a live
/// call does not wait behind it.
const BATCH: usize = 32;

/// Remembers an embedder's latest vectors.
pub(crate) struct Recall {
    inner: Arc<dyn Embedder>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    vectors: HashMap<[u8; 32], Arc<Vec<f32>>>,
    order: VecDeque<[u8; 32]>,
}

impl Recall {
    pub(crate) fn new(inner: Arc<dyn Embedder>) -> Self {
        Self { inner, kept: Mutex::default() }
    }

    fn known(&self, keys: &[[u8; 32]]) -> Vec<Option<Arc<Vec<f32>>>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        keys.iter().map(|k| kept.vectors.get(k).cloned()).collect()
    }

    fn keep(&self, key: [u8; 32], vector: &Arc<Vec<f32>>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.vectors.insert(key, Arc::clone(vector)).is_none() {
            kept.order.push_back(key);
        }
        while kept.order.len() > KEPT {
            if let Some(old) = kept.order.pop_front() {
                kept.vectors.remove(&old);
            }
        }
    }

    /// All vectors are of one model, the one that [`Embedder::id`] names afterwards.
    async fn all(&self, texts: &[String], priority: Priority) -> Result<Vec<Vec<f32>>, EmbedError> {
        let mut model = self.inner.id();
        let keys: Vec<[u8; 32]> = texts.iter().map(|t| key(&model, t)).collect();
        let mut found = if model.is_empty() { vec![None; texts.len()] } else { self.known(&keys) };
        let missing: Vec<usize> =
            found.iter().enumerate().filter(|(_, v)| v.is_none()).map(|(i, _)| i).collect();
        for batch in missing.chunks(BATCH) {
            let ask: Vec<String> = batch.iter().filter_map(|i| texts.get(*i).cloned()).collect();
            let vectors = self.inner.embed(&ask, priority).await?;
            if vectors.len() != ask.len() {
                return Err(EmbedError::Mismatch { wanted: ask.len(), got: vectors.len() });
            }
            let made_by = self.inner.id();
            if model.is_empty() {
                model = made_by;
            } else if model != made_by {
                return Err(EmbedError::Unavailable("the embedder changed meanwhile".to_owned()));
            }
            for ((i, vector), text) in batch.iter().zip(vectors).zip(&ask) {
                let vector = Arc::new(vector);
                if let Some(slot) = found.get_mut(*i) {
                    self.keep(key(&model, text), &vector);
                    *slot = Some(vector);
                }
            }
        }
        Ok(found.into_iter().flatten().map(Arc::unwrap_or_clone).collect())
    }
}

/// A model's name never holds a zero byte.
fn key(model: &str, text: &str) -> [u8; 32] {
    let mut h = blake3::Hasher::new();
    h.update(model.as_bytes());
    h.update(&[0]);
    h.update(text.as_bytes());
    *h.finalize().as_bytes()
}

impl Embedder for Recall {
    fn id(&self) -> String {
        self.inner.id()
    }

    fn embed<'a>(
        &'a self,
        texts: &'a [String],
        priority: Priority,
    ) -> BoxFuture<'a, Result<Vec<Vec<f32>>, EmbedError>> {
        Box::pin(self.all(texts, priority))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::testing::block_on;

    /// An embedder that becomes another one at its `turns`-th request; its vectors
    /// say which it was.
    struct Turning {
        asked: AtomicUsize,
        turns: usize,
    }

    impl Turning {
        fn recall(turns: usize) -> (Recall, Arc<Self>) {
            let inner = Arc::new(Self { asked: AtomicUsize::new(0), turns });
            (Recall::new(Arc::<Self>::clone(&inner)), inner)
        }

        fn number(&self) -> usize {
            usize::from(self.asked.load(Ordering::Relaxed) >= self.turns)
        }
    }

    impl Embedder for Turning {
        fn id(&self) -> String {
            format!("m{}", self.number())
        }

        fn embed<'a>(
            &'a self,
            texts: &'a [String],
            _: Priority,
        ) -> BoxFuture<'a, Result<Vec<Vec<f32>>, EmbedError>> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let vector = vec![self.number() as f32];
            Box::pin(async move { Ok(vec![vector; texts.len()]) })
        }
    }

    #[test]
    fn a_vector_is_remembered_for_the_model_that_made_it() {
        block_on(async {
            let (recall, inner) = Turning::recall(100);
            let text = ["a".to_owned()];
            for _ in 0..3 {
                assert_eq!(recall.embed(&text, Priority::Live).await.unwrap(), [[0.0f32]]);
            }
            assert_eq!(inner.asked.load(Ordering::Relaxed), 1);
            inner.asked.store(100, Ordering::Relaxed);
            assert_eq!(recall.embed(&text, Priority::Live).await.unwrap(), [[1.0f32]]);
        });
    }

    #[test]
    fn vectors_of_two_models_are_never_given_out_together() {
        block_on(async {
            let (recall, _) = Turning::recall(2);
            let texts: Vec<String> = (0..=BATCH).map(|n| n.to_string()).collect();
            assert!(recall.embed(&texts, Priority::Shadow).await.is_err());
            let all = recall.embed(&texts, Priority::Shadow).await.unwrap();
            assert!(all.iter().all(|v| *v == [1.0f32]));
        });
    }
}
