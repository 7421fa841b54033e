//! Who answers in a rehearsal.

use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::Duration;

use crate::config::Config;
use crate::engine_child::{Care, Health, Supervised};
use crate::failure::Failure;
use crate::serve::casting;

/// How long the models may take to load.
const LOADS_WITHIN: Duration = Duration::from_secs(120);

/// How often an engine may end before it answers: what is wrong with a model stays wrong.
const TRIES: u64 = 3;

/// Refuses a rehearsal for which there is neither a model nor anybody else.
///
/// # Errors
/// What is missing, with the remedy.
pub(super) fn permit(config: &Config) -> Result<(), Failure> {
    if casting::is_off(config) && config.remotes.is_empty() {
        return Err(Failure::Unavailable(
            "nobody is there to rehearse: engine.enabled is false, and there is neither an engine.address nor a \
             [remote.NAME]"
                .to_owned(),
        ));
    }
    let is_ours = config.engine.enabled && config.engine.address.is_none();
    if is_ours && !config.model.embed.is_dir() {
        return Err(Failure::Unavailable(format!(
            "there is no embedder at {}: run 'understudy model pull'",
            config.model.embed.display()
        )));
    }
    Ok(())
}

/// An engine of this rehearsal's own, or the configured one elsewhere; no socket where
/// there is to be none. For what [`permit`] lets pass.
///
/// # Errors
/// When its models do not load.
pub(super) async fn engine(
    config: &Config,
    dir: &Path,
) -> Result<(Option<Supervised>, Option<PathBuf>), Failure> {
    if casting::is_off(config) {
        return Ok((None, None));
    }
    let socket = dir.join("engine.sock");
    if config.engine.address.is_some() {
        return Ok((None, Some(socket)));
    }
    let care = Care { nice: 0, ..Care::of(config)?.at(socket.clone()) };
    let engine = Supervised::start(care)?;
    let (mut health, counts) = (engine.health(), engine.counts());
    let tried = || counts.lock().unwrap_or_else(PoisonError::into_inner).starts;
    let settled = health.wait_for(|h| match h {
        Health::Starting => false,
        Health::Ready(_) => true,
        Health::Down(_) => tried() >= TRIES,
    });
    let settled = tokio::time::timeout(LOADS_WITHIN, settled).await;
    match settled.ok().and_then(Result::ok).as_deref() {
        Some(Health::Ready(_)) => {}
        _ => {
            let line = engine.health().borrow().line();
            return Err(Failure::Unavailable(format!(
                "the models do not load ({line}): 'understudy model check' says why"
            )));
        }
    }
    Ok((Some(engine), Some(socket)))
}
