//! Whose the recorded calls are, and the exchanges that they would have been.

use understudy_call::{Belongs, Credential, Dialect, Exchange, ExchangeId, Metadata, Timings};
use understudy_rehearsal::logs::LoggedCall;
use understudy_tasks::{Conversations, HashKey, fingerprint};

use super::Rehearse;
use crate::failure::Failure;

/// Whose calls they are: one credential for all.
pub(crate) struct Caller {
    pub(super) provider: String,
    pub(super) credential: Credential,
}

impl Caller {
    /// What the caller shows a provider.
    ///
    /// # Errors
    /// The variable that has it is not there.
    pub(super) fn secret(args: &Rehearse) -> Result<String, Failure> {
        let Some(name) = &args.credential_env else { return Ok("log".to_owned()) };
        let value = std::env::var(name).map_err(|_| {
            Failure::Usage(format!(
                "--credential-env {name}: there is no such variable in the environment; export it, or name another"
            ))
        })?;
        Ok(format!("Bearer {value}"))
    }

    /// The caller who shows this provider this secret.
    pub(super) fn of(provider: &str, secret: &str, key: &HashKey) -> Self {
        Self { provider: provider.to_owned(), credential: key.credential(provider, secret.as_bytes()) }
    }

    /// Where a recorded call belongs.
    pub(super) fn belongs(&self, call: &LoggedCall, conversations: &Conversations) -> Belongs {
        let form = fingerprint(Dialect::OpenaiChat, &call.request);
        conversations.of(self.credential, form, call.conversation.as_deref(), &call.request)
    }

    /// The name of a recorded call's exchange: its number, and a hash of the id that the
    /// log has for it.
    pub(super) fn id(number: u64, call: &LoggedCall, key: &HashKey) -> ExchangeId {
        let mut id = [0u8; 16];
        let (order, name) = id.split_at_mut(8);
        order.copy_from_slice(&number.to_be_bytes());
        let named = key.call(call.id.as_deref().unwrap_or_default().as_bytes());
        name.copy_from_slice(&named.to_be_bytes());
        ExchangeId(id)
    }

    /// The exchange that a recorded call would have been.
    pub(crate) fn exchange(&self, number: u64, call: &LoggedCall, conversations: &Conversations) -> Exchange {
        let Belongs { form, conversation, opening } = self.belongs(call, conversations);
        let exchange = Exchange::new(
            Self::id(number, call, conversations.key()),
            Metadata {
                form: Some(form),
                conversation: Some(conversation),
                opening,
                status: call.status,
                timings: Timings {
                    started_unix_ms: call.at_ms.unwrap_or(0),
                    first_byte: None,
                    total: call.took,
                    understudy: None,
                    audit: None,
                },
                explicit_conversation: call.conversation.clone(),
                ..Metadata::answered(self.provider.clone(), Dialect::OpenaiChat, self.credential)
            },
            Some(call.request.clone()),
            Some(call.reply.clone()),
        );
        Exchange { stand_ins: call.stand_ins, ..exchange }
    }
}
