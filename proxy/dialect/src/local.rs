use understudy_call::{Dialect, Finish, Part, Reply, Request};

use crate::openai;

/// What a reply made on this machine needs to look like the provider's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalReply<'a> {
    /// The reply's id; see [`reply_id`].
    pub id: String,
    /// Unix seconds at which it was made.
    pub created: i64,
    /// The model as the request named it.
    pub model: &'a str,
    /// Where the ids of its tool calls come from.
    pub seed: u128,
    /// Why a choice that calls tools ended, in the provider's words for this request.
    pub finish: Finish,
}

impl<'a> LocalReply<'a> {
    /// For an answer to `request`, with ids drawn from `seed`, which must be new for
    /// each reply.
    #[must_use]
    pub fn new(d: Dialect, seed: u128, created: i64, request: &'a Request) -> Self {
        let finish = match d {
            Dialect::AnthropicMessages => Finish::ToolCalls,
            _ => openai::finish_of_calls(&request.tool_choice),
        };
        Self { id: reply_id(d, seed), created, model: &request.model, seed, finish }
    }

    /// Gives `reply` its id, time, the requested model's name, ids for its tool
    /// calls, places for its choices, and the finish that goes with tool calls.
    #[must_use]
    pub fn dress(self, mut reply: Reply) -> Reply {
        reply.id = self.id;
        reply.created = self.created;
        reply.model = self.model.to_owned();
        let mut calls = 0;
        for (index, choice) in (0..).zip(&mut reply.choices) {
            choice.index = index;
            for call in &mut choice.tool_calls {
                call.id = tool_call_id(self.seed, calls);
                calls += 1;
            }
            let ended = matches!(choice.finish, Some(Finish::Stop | Finish::ToolCalls));
            if ended && !choice.tool_calls.is_empty() {
                choice.finish = Some(self.finish.clone());
            }
        }
        reply
    }
}

/// The reply with nothing but what is said, the tools that are called, how it ended, and
/// the counts that have a noun. Fields that no noun holds are those of whoever made it
/// (`reasoning_content`, `system_fingerprint`, `x_groq`), who is not the provider.
#[must_use]
pub fn plain(mut reply: Reply) -> Reply {
    reply.extra.clear();
    for choice in &mut reply.choices {
        choice.extra.clear();
        choice.logprobs.clear();
        choice.content.retain(|part| matches!(part, Part::Text(_) | Part::Refusal(_)));
        let texts = choice.content.iter().filter_map(|part| match part {
            Part::Text(text) => Some(text.as_str()),
            _ => None,
        });
        // The provider writes one text, and clients read it as a string.
        if choice.content.len() > 1 && texts.clone().count() == choice.content.len() {
            choice.content = vec![Part::Text(texts.collect())];
        }
    }
    reply
}

/// An id of the provider's shape: OpenAI's `chatcmpl-` and 29 letters and
/// digits, Anthropic's `msg_01` and 22. The same seed gives the same id.
#[must_use]
pub fn reply_id(d: Dialect, seed: u128) -> String {
    match d {
        Dialect::AnthropicMessages => spell("msg_01", 22, seed, 0),
        _ => spell("chatcmpl-", 29, seed, 0),
    }
}

/// The id of the `i`th tool call of the reply with this seed: `call_` and 24
/// letters and digits.
#[must_use]
pub fn tool_call_id(seed: u128, i: usize) -> String {
    spell("call_", 24, seed, (i as u64).wrapping_add(1))
}

fn spell(prefix: &str, len: usize, seed: u128, stream: u64) -> String {
    const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let (high, low) = ((seed >> 64) as u64, seed as u64);
    let mut state = mix(low ^ mix(high ^ mix(stream)));
    let mut id = String::with_capacity(prefix.len() + len);
    id.push_str(prefix);
    for at in 0..len {
        // A word gives ten letters of base 62 (5.95 bits each); the seed's
        // other half joins in at each new word, so that all 128 bits count.
        if at % 10 == 0 {
            state = mix(state.wrapping_add(if at % 20 == 0 { high } else { low }));
        }
        let letter = LETTERS.get((state % 62) as usize).copied().unwrap_or(b'0');
        id.push(char::from(letter));
        state /= 62;
        if at % 10 == 9 {
            state = mix(low ^ mix(high ^ mix(stream ^ at as u64)));
        }
    }
    id
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014): a bijection.
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
