//! Puts the sidecar into pods: the mutating webhook's whole judgement, pure.
//!
//! A pod that opted in (by its label or its namespace's) gets a native sidecar
//! as its first init container, so that the sidecar is there before the
//! agent's first call and until after its last. The base-URL variables come
//! through a ConfigMap at the head of each container's `envFrom`: whatever the
//! user has set wins, and no Secret is read. Nothing else of the manifest
//! changes, and a pod that cannot be served is admitted as it is.
//!
//! In this order: [`skip`](Skip) → [`Ask`] → [`inject`] → [`review`].
#![allow(
    clippy::indexing_slicing,
    reason = "an index of a JSON value gives null for what is absent, and what is written to is an object by then (skip.rs)"
)]

mod ask;
mod breaker;
mod certificates;
mod clock;
mod crd;
mod error;
mod journal;
mod keeper;
mod lease;
mod metrics;
mod namespaces;
mod pod;
mod pods;
mod policies;
mod quality;
mod quantity;
mod resources;
mod review;
mod routes;
mod serve;
mod service;
mod settings;
mod sidecar;
mod skip;
#[cfg(test)]
mod tests;
mod understudies;

pub use ask::{
    ANNOTATIONS, Annotation, Ask, AskError, EngineChoice, INJECT, INJECTED, JournalPlace, MARKS, Mark,
    PREFIX, STATUS,
};
pub use crd::{
    Approval, Furthest, Pinned, PolicyStatus, Rules, UnderstudyPolicy, UnderstudyPolicySpec, definition,
};
pub use error::ServeError;
pub use pod::{Around, Kept, Outcome, Status, inject};
pub use policies::{Document, Report, Told};
pub use review::{ReviewError, Reviewed, review};
pub use serve::{Places, serve};
pub use settings::{Certificates, Controller, EngineContainer, EngineService, File, PolicyService, Settings};
pub use skip::Skip;
pub use understudies::{Given, Remote, SecretKey, Understudy, UnderstudySpec, UnderstudyStatus};
