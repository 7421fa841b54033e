//! Primers: records that later ones of the same key are compressed against.
//!
//! An agent's calls share their system text, tools and most of a conversation;
//! against an earlier call only what is new is left. The first record of a key
//! stands alone and becomes the primer of those after it, until it has primed
//! [`MOST`]: a damaged record then costs those at most.

use std::collections::VecDeque;

use zstd::zstd_safe::{CDict, DCtx, DDict};

use super::{KeyId, LEVEL, Mark, PrimedBy};

/// Bytes of a primer that are used, from its beginning: a bound on the memory of a
/// dictionary.
const LONGEST: usize = 64 << 10;
/// A record shorter than this gains others nothing; one longer is not worth opening
/// for what is used of it.
const WORTH: std::ops::RangeInclusive<usize> = 128..=1 << 20;
/// Records that one primer primes.
const MOST: u32 = 1024;
/// Keys whose primers are held: those used last.
const HELD: usize = 16;

fn cut(plain: &[u8]) -> &[u8] {
    plain.get(..LONGEST).unwrap_or(plain)
}

/// The writer's primers, those used last at the end.
#[derive(Default)]
pub(super) struct Primers {
    volume: String,
    held: VecDeque<Held>,
}

struct Held {
    id: KeyId,
    by: PrimedBy,
    form: Form,
    left: u32,
}

/// A dictionary is made when it is first wanted: many forms come once.
enum Form {
    Plain(Vec<u8>),
    Made(CDict<'static>),
    Useless,
}

impl Primers {
    /// Whether there is one of this key that may be used for so many records more.
    pub(super) fn is_ready(&mut self, volume: &str, id: KeyId, records: usize) -> bool {
        let wanted = u32::try_from(records).unwrap_or(u32::MAX);
        self.find(volume, id).is_some_and(|held| held.left >= wanted && matches!(held.form, Form::Made(_)))
    }

    /// The primer of this key, used for so many records more.
    pub(super) fn of(
        &mut self,
        volume: &str,
        id: KeyId,
        records: usize,
    ) -> Option<(PrimedBy, &CDict<'static>)> {
        let held = self.find(volume, id)?;
        held.left = held.left.checked_sub(u32::try_from(records).ok()?)?;
        match &held.form {
            Form::Made(dictionary) => Some((held.by, dictionary)),
            _ => None,
        }
    }

    fn find(&mut self, volume: &str, id: KeyId) -> Option<&mut Held> {
        if self.volume != volume {
            *self = Self { volume: volume.to_owned(), held: VecDeque::new() };
        }
        let at = self.held.iter().rposition(|h| h.id == id)?;
        if self.held.back().is_none_or(|last| last.id != id) {
            let held = self.held.remove(at)?;
            self.held.push_back(held);
        }
        let held = self.held.back_mut()?;
        if let Form::Plain(plain) = &held.form {
            held.form = CDict::try_create(plain, LEVEL).map_or(Form::Useless, Form::Made);
        }
        Some(held)
    }

    /// Keeps a record that was sealed alone as the primer of those to come.
    pub(super) fn keep(&mut self, id: KeyId, by: PrimedBy, plain: &[u8]) {
        self.held.retain(|h| h.id != id);
        if !WORTH.contains(&plain.len()) {
            return;
        }
        if self.held.len() >= HELD {
            self.held.pop_front();
        }
        self.held.push_back(Held { id, by, form: Form::Plain(cut(plain).to_vec()), left: MOST });
    }
}

/// A reader's primer.
pub(crate) struct Primer {
    id: KeyId,
    mark: Mark,
    dictionary: DDict<'static>,
}

impl Primer {
    pub(super) fn of(id: KeyId, mark: Mark, plain: &[u8]) -> Option<Self> {
        Some(Self { id, mark, dictionary: DDict::try_create(cut(plain))? })
    }

    /// `None` where this is not the primer that was used.
    pub(super) fn decompress(&self, id: KeyId, by: PrimedBy, body: &[u8], cap: usize) -> Option<Vec<u8>> {
        if id != self.id || by.mark != self.mark {
            return None;
        }
        let mut out = Vec::with_capacity(cap);
        DCtx::try_create()?.decompress_using_ddict(&mut out, body, &self.dictionary).ok()?;
        Some(out)
    }
}
