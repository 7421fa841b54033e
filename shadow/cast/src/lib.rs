//! Makes understudies and asks them.
//!
//! An understudy learns a task from the exchanges that the provider answered,
//! up to a point of the journal, and is then frozen: its id is a hash over all
//! that decides its answers, so that evidence about one is evidence about no
//! other. [`Cast::rehearse_fit`] makes new versions when the task's exchanges
//! have doubled ([`registry::is_due`]); between doublings nothing is refitted.
//!
//! The phases: an exchange becomes an [`Example`] (only if the provider
//! answered it whole), a [`head`] is fitted where the replies are few and a
//! [`prompted`] understudy gets its snapshot of examples, both are published in
//! the [`Cast`], and from then on they are a [`understudy_call::Responder`]
//! each: they answer with a confidence, or say why not.
//!
//! What every understudy keeps to:
//! - it knows nothing that came after its snapshot, and nothing of another
//!   credential's unless the task is shared;
//! - an understudy's own answer is never an example;
//! - asked for a captured call, it never uses that very call.

mod asking;
pub mod baseline;
pub mod check;
pub mod client;
mod error;
pub mod example;
pub mod head;
mod packed;
pub mod prompted;
mod recall;
pub mod registry;
pub mod remote;
pub mod specialised;
#[cfg(test)]
mod testing;
mod window;
mod wire;

pub use client::{
    ChatAnswer, ChatAsk, ChatModel, Door, EngineAddr, EngineClient, EngineModels, ReplyShape, Way,
};
pub use error::CastError;
pub use example::Example;
pub use registry::{Cast, CastConfig, CastMember, Kind};
