//! A volume: a small sled database that holds sealed records, small ones together in
//! packs, long values cut into frames.
//!
//! sled writes a leaf page of up to 16 values in one piece, and a page larger than
//! a quarter segment (128 KiB) goes to a file of its own under `blobs/`, which sled
//! never syncs. Values of at most 6 KiB keep every page under that.
//!
//! sled panics on damage, while opening and while reading, so every call into it
//! is caught here, and a volume that failed once is not asked again.

mod pack;
mod shelf;
mod spot;

use std::any::Any;
use std::collections::VecDeque;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use pack::PACKED;
pub(crate) use pack::{Pack, Value};
pub(crate) use shelf::{Place, Shelf, sync_folder};
use spot::{Sealed, Spot, key, last_of, seq_of};

use crate::error::IoContext;
use crate::seal::{KeyRing, Primer, Unopened, intact, open, open_primer};
use crate::{JournalError, KeyVault};

/// Largest value given to sled.
pub(crate) const FRAME: usize = 6 << 10;
/// The first frame begins with the record's length.
const LEN: usize = 4;
const CACHE_BYTES: u64 = 4 << 20;
/// Primers that a volume's readers hold.
const PRIMERS: usize = 16;
/// And opened blocks: one for each form that takes its turn.
const BLOCKS: usize = 8;

/// Locks, whoever panicked before: what the locks here guard is never left half changed.
pub(crate) fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `<first sequence number>-<random>`: in order of names, and never used twice.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct VolumeName {
    pub(crate) first: u64,
    text: String,
}

impl VolumeName {
    pub(crate) fn new(first: u64) -> Result<Self, JournalError> {
        let tail = u32::from_be_bytes(crate::keys::random()?);
        Ok(Self { first, text: format!("{first:020}-{tail:08x}") })
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (first, tail) = text.split_once('-')?;
        let well_formed = first.len() == 20 && tail.len() == 8;
        well_formed.then(|| first.parse().ok()).flatten().map(|first| Self { first, text: text.to_owned() })
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

/// What is at a place of a volume.
#[derive(Debug)]
pub(crate) enum Content {
    /// The record, opened.
    Record(Vec<u8>),
    /// Nothing.
    Missing,
    /// Something that is not this record.
    Bad(Unopened),
}

pub(crate) struct Volume {
    name: VolumeName,
    /// `None` once it has failed: sled answers nothing useful after its first error,
    /// and holds its lock until it is dropped.
    db: RwLock<Option<sled::Db>>,
    file: File,
    pub(crate) ring: KeyRing,
    /// Those that were asked for last, with their numbers.
    primers: Mutex<VecDeque<(u64, Arc<Primer>)>>,
    /// Those that were opened last: whoever reads in order finds the next records there.
    blocks: Mutex<VecDeque<Block>>,
    failed: AtomicU8,
}

/// A block, opened.
struct Block {
    numbers: Vec<u64>,
    /// How many of them are still its own.
    standing: usize,
    plain: Vec<u8>,
}

impl Block {
    fn record(&self, seq: u64) -> Option<Result<Vec<u8>, Unopened>> {
        let at = self.numbers.iter().take(self.standing).position(|n| *n == seq)?;
        let record = pack::nth(&self.plain, self.numbers.len(), at);
        Some(record.map(<[u8]>::to_vec).ok_or(Unopened::Damaged))
    }
}

const SOUND: u8 = 0;
const DISK: u8 = 1;
const DAMAGE: u8 = 2;

impl Volume {
    /// Opens the database in this folder, or makes it.
    pub(crate) fn open(
        folder: &Path,
        keys: &Path,
        name: &VolumeName,
        vault: Arc<dyn KeyVault>,
    ) -> Result<Self, JournalError> {
        let dir: PathBuf = folder.join(name.as_str());
        let ring = KeyRing::load(keys, name.as_str(), vault)?;
        let config = sled::Config::new()
            .path(&dir)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(None)
            .use_compression(false);
        let db = caught(name, || config.open())?;
        let file = File::open(dir.join("db")).during("open", &dir.join("db"))?;
        Ok(Self {
            name: name.clone(),
            db: RwLock::new(Some(db)),
            file,
            ring,
            primers: Mutex::default(),
            blocks: Mutex::default(),
            failed: AtomicU8::new(SOUND),
        })
    }

    pub(crate) fn name(&self) -> &VolumeName {
        &self.name
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Relaxed) != SOUND
    }

    /// It failed by itself, and not because the disk refused.
    pub(crate) fn is_damaged(&self) -> bool {
        self.failed.load(Relaxed) == DAMAGE
    }

    /// Bytes of its log.
    pub(crate) fn log_bytes(&self) -> u64 {
        self.file.metadata().map_or(0, |m| m.len())
    }

    /// Puts a sealed record into the database; durable only after [`Volume::commit`].
    #[cfg(test)]
    pub(crate) fn put(&self, seq: u64, sealed: &[u8]) -> Result<(), JournalError> {
        self.put_value(&Value { seq, is_pack: false, bytes: sealed.to_vec() })
    }

    /// Puts a record or a pack into the database, in frames; durable only after
    /// [`Volume::commit`].
    pub(crate) fn put_value(&self, value: &Value) -> Result<(), JournalError> {
        let Value { seq, is_pack, bytes } = value;
        let len = u32::try_from(bytes.len()).ok().filter(|len| len & PACKED == 0);
        let len = len.ok_or_else(|| JournalError::Record("it is too long".to_owned()))?;
        let (head, rest) = bytes.split_at(bytes.len().min(FRAME - LEN));
        let mut start = Vec::with_capacity(LEN + head.len());
        start.extend_from_slice(&(if *is_pack { len | PACKED } else { len }).to_be_bytes());
        start.extend_from_slice(head);
        self.guarded(|db| {
            db.insert(key(*seq, 0), start)?;
            for (i, frame) in (1u32..).zip(rest.chunks(FRAME)) {
                db.insert(key(*seq, i), frame)?;
            }
            Ok(())
        })
    }

    /// Makes everything that was put durable: the keys first, then sled's buffers into
    /// the file, then the file. Where that fails the volume has failed: Linux tells of a
    /// write that failed once, and the next sync would pass over what is not there.
    pub(crate) fn commit(&self) -> Result<(), JournalError> {
        let saved = self.ring.save();
        let flushed = saved.and_then(|()| self.guarded(|db| db.flush().map(|_| ())));
        let name = Path::new(self.name.as_str());
        let done = flushed.and_then(|()| self.file.sync_data().during("sync the volume", name));
        if done.is_err() && !self.has_failed() {
            self.give_up(DISK);
        }
        done
    }

    /// Reads and opens the record of this number.
    pub(crate) fn read(&self, seq: u64) -> Result<Content, JournalError> {
        let of = |record| match record {
            Ok(plain) => Content::Record(plain),
            Err(why) => Content::Bad(why),
        };
        if let Some(record) = lock(&self.blocks).iter().find_map(|block| block.record(seq)) {
            return Ok(of(record));
        }
        let Sealed { mut bytes, numbers, standing } = match self.sealed(seq)? {
            None => return Ok(Content::Missing),
            Some(Err(why)) => return Ok(Content::Bad(why)),
            Some(Ok(sealed)) => sealed,
        };
        let mut failed = None;
        let primer = |seq| {
            self.primer(seq).unwrap_or_else(|e| {
                failed = Some(e);
                None
            })
        };
        let opened = open(&self.ring, &numbers, &mut bytes, primer);
        if let Some(e) = failed {
            return Err(e);
        }
        let plain = match opened {
            Ok(plain) if numbers.len() > 1 => plain,
            record => return Ok(of(record)),
        };
        let block = Block { numbers, standing, plain };
        let record = block.record(seq).unwrap_or(Err(Unopened::Damaged));
        let mut blocks = lock(&self.blocks);
        blocks.truncate(BLOCKS - 1);
        blocks.push_front(block);
        Ok(of(record))
    }

    /// The record of this number as a primer of others; `None` where it is none.
    fn primer(&self, seq: u64) -> Result<Option<Arc<Primer>>, JournalError> {
        if let Some(held) = self.held_primer(seq) {
            return Ok(Some(held));
        }
        let Some(Ok(mut sealed)) = self.sealed(seq)? else { return Ok(None) };
        let Some(made) = open_primer(&self.ring, seq, &mut sealed.bytes).map(Arc::new) else {
            return Ok(None);
        };
        let mut primers = lock(&self.primers);
        if primers.len() >= PRIMERS {
            primers.pop_front();
        }
        primers.push_back((seq, Arc::clone(&made)));
        Ok(Some(made))
    }

    fn held_primer(&self, seq: u64) -> Option<Arc<Primer>> {
        let mut primers = lock(&self.primers);
        let at = primers.iter().position(|(s, _)| *s == seq)?;
        let found = primers.remove(at)?;
        let primer = Arc::clone(&found.1);
        primers.push_back(found);
        Some(primer)
    }

    /// Why the record of this number is not all there; `None` where it is, though its
    /// primer may not be.
    pub(crate) fn flaw(&self, seq: u64) -> Result<Option<Unopened>, JournalError> {
        Ok(match self.sealed(seq)? {
            Some(Ok(mut sealed)) => intact(&self.ring, &sealed.numbers, &mut sealed.bytes).err(),
            Some(Err(why)) => Some(why),
            None => Some(Unopened::Damaged),
        })
    }

    /// The bytes of a record, out of its pack or its frames.
    fn sealed(&self, seq: u64) -> Result<Option<Result<Sealed, Unopened>>, JournalError> {
        self.guarded(|db| Spot::of(db, seq)?.sealed(db, seq))
    }

    /// The first number after this one that is there.
    pub(crate) fn next_after(&self, seq: u64) -> Result<Option<u64>, JournalError> {
        let Some(from) = seq.checked_add(1) else { return Ok(None) };
        self.guarded(|db| {
            // It may be within a pack, which has a key before it.
            if !matches!(Spot::of(db, from)?, Spot::Nowhere) {
                return Ok(Some(from));
            }
            Ok(db.range(key(from, 0)..).next().transpose()?.and_then(|(k, _)| seq_of(&k)))
        })
    }

    /// The last number that is there.
    pub(crate) fn last_seq(&self) -> Result<Option<u64>, JournalError> {
        self.guarded(|db| match db.last()? {
            Some((k, v)) => last_of(db, &k, &v),
            None => Ok(None),
        })
    }

    /// Takes out a record that was never durable, and those after it in the same pack.
    pub(crate) fn remove(&self, seq: u64) -> Result<(), JournalError> {
        lock(&self.primers).clear();
        lock(&self.blocks).clear();
        self.guarded(|db| Spot::of(db, seq)?.remove(db, seq))
    }

    /// As if its database had failed.
    #[cfg(test)]
    pub(crate) fn break_off(&self) {
        self.give_up(DISK);
    }

    fn guarded<T>(&self, f: impl FnOnce(&sled::Db) -> sled::Result<T>) -> Result<T, JournalError> {
        let done = match self.db.read().unwrap_or_else(PoisonError::into_inner).as_ref() {
            Some(db) => caught(&self.name, || f(db)),
            None => {
                let problem = "it failed before".to_owned();
                return Err(JournalError::Volume { volume: self.name.text.clone(), problem });
            }
        };
        if let Err(e) = &done {
            let kind = if matches!(e, JournalError::Io { .. }) { DISK } else { DAMAGE };
            self.give_up(kind);
        }
        done
    }

    fn give_up(&self, kind: u8) {
        self.failed.store(kind, Relaxed);
        self.let_go();
    }

    /// sled flushes when it is dropped, and a damaged one may panic then.
    fn let_go(&self) {
        let db = self.db.write().unwrap_or_else(PoisonError::into_inner).take();
        catch_unwind(AssertUnwindSafe(move || drop(db))).ok();
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        self.let_go();
    }
}

fn caught<T>(name: &VolumeName, f: impl FnOnce() -> sled::Result<T>) -> Result<T, JournalError> {
    let problem = match catch_unwind(AssertUnwindSafe(f)) {
        Ok(Ok(done)) => return Ok(done),
        Ok(Err(sled::Error::Io(source))) => {
            return Err(JournalError::Io { what: "use volume", path: name.as_str().into(), source });
        }
        Ok(Err(e)) => e.to_string(),
        Err(panic) => format!("sled panicked: {}", said(&*panic)),
    };
    Err(JournalError::Volume { volume: name.text.clone(), problem })
}

/// A panic's message, cut: sled may print what it has read.
fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message");
    text.chars().take(120).collect()
}

#[cfg(test)]
mod tests;
