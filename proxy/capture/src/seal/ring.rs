use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use aws_lc_rs::aead::{AES_256_GCM, RandomizedNonceKey};
use understudy_call::{Credential, FormHash};

use super::{KeyId, Unopened};
use crate::error::IoContext;
use crate::keys::random;
use crate::volume::lock;
use crate::{JournalError, KeyError, KeyVault};

/// Keys of more forms than this are not made in one volume: an agent whose every
/// call has a form of its own would fill the disk with keys. Further forms share
/// their credential's key, and further credentials the volume's.
const MAX_FORMS: usize = 1024;
const MAX_CREDENTIALS: usize = 4096;
/// Unwrapped keys held at once.
const MAX_HELD: usize = 256;

/// What a data key is for. Both `None`: the volume's own records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct KeyName {
    pub(crate) form: Option<FormHash>,
    pub(crate) credential: Option<Credential>,
}

/// The data keys of one volume, wrapped in a file of their own, a line a key:
/// `id form credential wrapped check`, in hexadecimal, `-` for none.
pub(crate) struct KeyRing {
    volume: String,
    path: PathBuf,
    vault: Arc<dyn KeyVault>,
    keys: Mutex<Keys>,
}

#[derive(Default)]
struct Keys {
    wrapped: HashMap<KeyId, Vec<u8>>,
    by_name: HashMap<KeyName, KeyId>,
    held: HashMap<KeyId, Arc<RandomizedNonceKey>>,
    unsaved: String,
    /// Whether the file, with its place in the folder, was synced since it was loaded.
    is_synced: bool,
}

impl KeyRing {
    /// Reads the keys of a volume; none where the file is missing. Lines that were
    /// cut or changed are left out: their records are then reported as `KeyGone`.
    pub(crate) fn load(folder: &Path, volume: &str, vault: Arc<dyn KeyVault>) -> Result<Self, JournalError> {
        let path = folder.join(volume);
        let mut keys = Keys::default();
        match fs::read(&path) {
            Ok(bytes) => {
                for (id, name, wrapped) in String::from_utf8_lossy(&bytes).lines().filter_map(parse) {
                    keys.wrapped.insert(id, wrapped);
                    keys.by_name.insert(name, id);
                }
                if bytes.last().is_some_and(|b| *b != b'\n') {
                    // The last line was cut: the next one starts afresh.
                    keys.unsaved.push('\n');
                }
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(e).during("read the keys in", &path),
        }
        Ok(Self { volume: volume.to_owned(), path, vault, keys: Mutex::new(keys) })
    }

    pub(crate) fn volume(&self) -> &str {
        &self.volume
    }

    /// The key of this id.
    ///
    /// # Errors
    /// [`Unopened::KeyGone`] where it is not there, [`Unopened::KeyForeign`] where it does not unwrap.
    pub(crate) fn key(&self, id: KeyId) -> Result<Arc<RandomizedNonceKey>, Unopened> {
        let held = self.held(&mut lock(&self.keys), id).map_err(|_| Unopened::KeyForeign)?;
        held.ok_or(Unopened::KeyGone)
    }

    /// The key for this purpose, made where there is none yet.
    pub(crate) fn key_for(&self, name: KeyName) -> Result<(KeyId, Arc<RandomizedNonceKey>), JournalError> {
        let mut keys = lock(&self.keys);
        let name = keys.affordable(name);
        if let Some(&id) = keys.by_name.get(&name)
            && let Ok(Some(key)) = self.held(&mut keys, id)
        {
            return Ok((id, key));
        }
        let id: KeyId = random()?;
        let data_key = random::<32>()?;
        let wrapped = self.vault.wrap(&data_key)?;
        let key = Arc::new(RandomizedNonceKey::new(&AES_256_GCM, &data_key).map_err(|_| KeyError::Crypto)?);
        keys.unsaved.push_str(&line(id, name, &wrapped));
        keys.wrapped.insert(id, wrapped);
        keys.by_name.insert(name, id);
        keys.hold(id, Arc::clone(&key));
        Ok((id, key))
    }

    /// Makes keys durable; before the records that they seal are. That is those which are
    /// new and, once, those which were loaded: whoever wrote them may have been killed
    /// before they were synced.
    pub(crate) fn save(&self) -> Result<(), JournalError> {
        let mut keys = lock(&self.keys);
        let any_new = !keys.unsaved.trim().is_empty();
        if !any_new && (keys.is_synced || keys.wrapped.is_empty()) {
            return Ok(());
        }
        let append = || -> std::io::Result<()> {
            let mut file = OpenOptions::new().append(true).create(any_new).mode(0o600).open(&self.path)?;
            if any_new {
                file.write_all(keys.unsaved.as_bytes())?;
            }
            file.sync_data()?;
            if !keys.is_synced
                && let Some(folder) = self.path.parent()
            {
                File::open(folder)?.sync_all()?;
            }
            Ok(())
        };
        if let Err(e) = append().during("write the keys in", &self.path) {
            // It may have ended within a line, which would make one of the next with it.
            if any_new && !keys.unsaved.starts_with('\n') {
                keys.unsaved.insert(0, '\n');
            }
            return Err(e);
        }
        keys.is_synced = true;
        if any_new {
            keys.unsaved.clear();
        }
        Ok(())
    }

    fn held(&self, keys: &mut Keys, id: KeyId) -> Result<Option<Arc<RandomizedNonceKey>>, KeyError> {
        if let Some(key) = keys.held.get(&id) {
            return Ok(Some(Arc::clone(key)));
        }
        let Some(wrapped) = keys.wrapped.get(&id) else { return Ok(None) };
        let data_key = self.vault.unwrap(wrapped)?;
        let key = Arc::new(RandomizedNonceKey::new(&AES_256_GCM, &data_key).map_err(|_| KeyError::Crypto)?);
        keys.hold(id, Arc::clone(&key));
        Ok(Some(key))
    }
}

impl Keys {
    fn hold(&mut self, id: KeyId, key: Arc<RandomizedNonceKey>) {
        if self.held.len() >= MAX_HELD {
            self.held.clear();
        }
        self.held.insert(id, key);
    }

    fn affordable(&self, name: KeyName) -> KeyName {
        if self.by_name.contains_key(&name) || self.by_name.len() < MAX_FORMS {
            return name;
        }
        let name = KeyName { form: None, ..name };
        if self.by_name.contains_key(&name) || self.by_name.len() < MAX_CREDENTIALS {
            return name;
        }
        KeyName::default()
    }
}

/// The wrapped keys in the bytes of such a file.
pub(super) fn wrapped_in(bytes: &[u8]) -> Vec<Vec<u8>> {
    String::from_utf8_lossy(bytes).lines().filter_map(parse).map(|(_, _, wrapped)| wrapped).collect()
}

fn line(id: KeyId, name: KeyName, wrapped: &[u8]) -> String {
    let or_dash = |s: Option<String>| s.unwrap_or_else(|| "-".to_owned());
    let said = format!(
        "{} {} {} {}",
        hex::encode(id),
        or_dash(name.form.map(|f| f.to_string())),
        or_dash(name.credential.map(|c| c.to_string())),
        hex::encode(wrapped)
    );
    let check = check(&said);
    format!("{said} {check}\n")
}

fn parse(line: &str) -> Option<(KeyId, KeyName, Vec<u8>)> {
    let (said, got) = line.rsplit_once(' ')?;
    if check(said) != got {
        return None;
    }
    let mut words = said.split(' ');
    let mut id: KeyId = KeyId::default();
    hex::decode_to_slice(words.next()?, &mut id).ok()?;
    let form = words.next()?;
    let credential = words.next()?;
    let name = KeyName {
        form: if form == "-" { None } else { Some(form.parse().ok()?) },
        credential: if credential == "-" { None } else { Some(credential.parse().ok()?) },
    };
    Some((id, name, hex::decode(words.next()?).ok()?))
}

/// Against cuts and accidents; against people there is the vault's own tag.
fn check(said: &str) -> String {
    blake3::hash(said.as_bytes()).to_hex().chars().take(8).collect()
}
