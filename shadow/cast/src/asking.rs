//! What every understudy over the embedder and the engine does before and after
//! its own work: the part's vector in time, the models it was made for, and a
//! reply that can be used.

use std::borrow::Cow;
use std::time::Duration;

use understudy_call::{Choice, Declined, Embedder, Priority, Reply, Request};
use understudy_tasks::{Frame, Part};

use crate::check;
use crate::client::ChatModel;

/// The vector of what is embedded of a part ([`crate::window::Sight::of`]).
///
/// # Errors
/// [`Declined::Late`] where it does not come within the time,
/// [`Declined::Unavailable`] where it does not come at all.
pub(crate) async fn vector(
    embedder: &dyn Embedder,
    seen: String,
    priority: Priority,
    within: Duration,
) -> Result<Vec<f32>, Declined> {
    tokio::time::timeout(within, embedder.embed(&[seen], priority))
        .await
        .map_err(|_| Declined::Late)?
        .map_err(|_| Declined::Unavailable)?
        .pop()
        .ok_or(Declined::Unavailable)
}

/// What of a part stands in the frame that a version was made with.
///
/// # Errors
/// [`Declined::Novel`] where the part is not in it: the version has learnt nothing like it.
pub(crate) fn inside<'p>(part: &'p Part, frame: Option<&Frame>) -> Result<Cow<'p, Part>, Declined> {
    match frame {
        Some(frame) => frame.part(part).map(Cow::Owned).ok_or(Declined::Novel),
        None => Ok(Cow::Borrowed(part)),
    }
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
