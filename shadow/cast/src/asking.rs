//! What every understudy over the embedder and the engine does before and after
//! its own work: the part's vector in time, the models it was made for, and a
//! reply that can be used.

use std::time::Duration;

use understudy_call::{Choice, Declined, Embedder, Priority, Reply, Request};

use crate::client::ChatModel;
use crate::{check, window};

/// The vector of a part's text.
///
/// # Errors
/// [`Declined::Late`] where it does not come within the time,
/// [`Declined::Unavailable`] where it does not come at all.
pub(crate) async fn vector(
    embedder: &dyn Embedder,
    part_text: &str,
    priority: Priority,
    within: Duration,
) -> Result<Vec<f32>, Declined> {
    let text = [window::to_embed(part_text)];
    tokio::time::timeout(within, embedder.embed(&text, priority))
        .await
        .map_err(|_| Declined::Late)?
        .map_err(|_| Declined::Unavailable)?
        .pop()
        .ok_or(Declined::Unavailable)
}

/// Whether the engine still has the models that a version was made for.
pub(crate) async fn has_models(
    model: &dyn ChatModel,
    embedder: &dyn Embedder,
    (chat, embeds): (&str, &str),
) -> bool {
    model.model().await.is_some_and(|m| m == chat) && embedder.id() == embeds
}

/// The one choice of a reply that the caller can use.
///
/// # Errors
/// [`Declined::Invalid`] where there is none, and what [`check::accept`] says.
pub(crate) fn usable<'r>(request: &Request, reply: &'r Reply) -> Result<&'r Choice, Declined> {
    match reply.choices.as_slice() {
        [choice] => check::accept(request, choice).map(|()| choice),
        _ => Err(Declined::Invalid),
    }
}
