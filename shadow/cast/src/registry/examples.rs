//! What versions are made of.

use understudy_call::{EmbedError, Embedder, Priority};
use understudy_tasks::{Frame, Part};

use crate::example::Example;

/// The share of a task's examples that have to be in its frame for a version to be made
/// with it.
const NEARLY_ALL: f64 = 0.9;

/// Of the examples, the texts are all a version needs; a part's turns stay behind. Those of
/// a frame without the others, if it is the frame of nearly all of them.
pub(super) fn in_frame<'e, 'f>(
    examples: impl Iterator<Item = &'e Example> + Clone,
    frame: Option<&'f Frame>,
) -> (Vec<Example>, Option<&'f Frame>) {
    let text_alone = |e: Example| Example { part: Part { masked: Vec::new(), turns: Vec::new() }, ..e };
    if let Some(frame) = frame {
        let inside: Vec<Example> = examples.clone().filter_map(|e| e.framed(frame)).map(text_alone).collect();
        if inside.len() as f64 >= NEARLY_ALL * examples.clone().count() as f64 {
            return (inside, Some(frame));
        }
    }
    (examples.cloned().map(text_alone).collect(), None)
}

/// Embeds the examples that have no vector yet.
///
/// # Errors
/// The embedder's.
pub(super) async fn embed_missing(
    embedder: &dyn Embedder,
    examples: &mut [Example],
) -> Result<(), EmbedError> {
    let missing: Vec<usize> =
        examples.iter().enumerate().filter(|(_, e)| e.embedding.is_none()).map(|(i, _)| i).collect();
    // Once even if nothing is missing: the embedder's name may not be known yet.
    if missing.is_empty() && embedder.id().is_empty() {
        embedder.embed(&[String::new()], Priority::Shadow).await?;
    }
    let texts: Vec<String> = missing.iter().filter_map(|i| examples.get(*i)).map(Example::seen).collect();
    let vectors = embedder.embed(&texts, Priority::Shadow).await?;
    for (i, vector) in missing.into_iter().zip(vectors) {
        if let Some(e) = examples.get_mut(i) {
            e.embedding = Some(vector);
        }
    }
    Ok(())
}
