use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};

use crate::KeyError;
use crate::seal::any_key_in;

/// Wraps data keys with a key-encryption key that it never shows: a file now, a
/// Kubernetes Secret, a KMS or Vault transit behind the same trait.
pub trait KeyVault: Send + Sync {
    /// Wraps a data key.
    ///
    /// # Errors
    /// When the vault cannot be reached or refuses.
    fn wrap(&self, data_key: &[u8; 32]) -> Result<Vec<u8>, KeyError>;

    /// Unwraps a data key.
    ///
    /// # Errors
    /// When the vault cannot be reached, or the key is not its own or was changed.
    fn unwrap(&self, wrapped: &[u8]) -> Result<[u8; 32], KeyError>;

    /// A key derived from the key-encryption key, for keyed hashes: credentials,
    /// conversations, stand-ins. The same for as long as the key is.
    fn hash_key(&self) -> [u8; 32];
}

const NONCE_LEN: usize = 12;
const WRAP_AAD: &[u8] = b"understudy data key 1";

/// A key-encryption key in a file of mode 0600: 64 hexadecimal digits.
pub struct FileKey {
    cipher: RandomizedNonceKey,
    hash_key: [u8; 32],
}

impl std::fmt::Debug for FileKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FileKey")
    }
}

impl FileKey {
    /// Reads the key of these journals, or makes one where the file is missing and none
    /// of them holds anything: a new key would open nothing of what they hold.
    ///
    /// # Errors
    /// As [`FileKey::open_or_create`], and [`KeyError::Missing`].
    pub fn for_journals(path: impl AsRef<Path>, journals: &[&Path]) -> Result<Self, KeyError> {
        let path = path.as_ref();
        match Self::open(path) {
            Err(KeyError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {}
            read => return read,
        }
        match journals.iter().find(|journal| any_key_in(journal)) {
            Some(journal) => Err(KeyError::Missing { path: path.to_owned(), journal: journal.to_path_buf() }),
            None => Self::open_or_create(path),
        }
    }

    /// Reads the key, or makes one with mode 0600 where the file is missing.
    ///
    /// # Errors
    /// When others may read the file, when it is not a key, when it cannot be made.
    pub fn open_or_create(path: impl AsRef<Path>) -> Result<Self, KeyError> {
        let path = path.as_ref();
        match Self::open(path) {
            Err(KeyError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Self::create(path),
            read => read,
        }
    }

    /// Reads the key.
    ///
    /// # Errors
    /// When the file is missing, when others may read it, when it is not a key.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, KeyError> {
        let path = path.as_ref();
        let io = |what| move |source| KeyError::Io { what, path: path.to_owned(), source };
        let mut file = File::open(path).map_err(io("open"))?;
        let mode = file.metadata().map_err(io("read"))?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(KeyError::OpenToOthers { path: path.to_owned(), mode });
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(io("read"))?;
        let mut key = [0u8; 32];
        hex::decode_to_slice(text.trim(), &mut key)
            .map_err(|_| KeyError::NotAKey { path: path.to_owned(), len: text.len() })?;
        Self::from_bytes(&key)
    }

    /// A key from elsewhere.
    ///
    /// # Errors
    /// When the cipher refuses.
    pub fn from_bytes(key: &[u8; 32]) -> Result<Self, KeyError> {
        // Two keys out of one, so that neither is used for two purposes.
        let wrapping = blake3::derive_key("understudy 2026-11 journal: wrapping of data keys", key);
        let hash_key = blake3::derive_key("understudy 2026-11 journal: keyed hashes", key);
        let cipher = RandomizedNonceKey::new(&AES_256_GCM, &wrapping).map_err(|_| KeyError::Crypto)?;
        Ok(Self { cipher, hash_key })
    }

    /// The file gets its name when it is whole: an empty one, of a process that ended too
    /// soon or has only begun, would be refused at every start.
    fn create(path: &Path) -> Result<Self, KeyError> {
        let io = |what| move |source| KeyError::Io { what, path: path.to_owned(), source };
        let key = random::<32>()?;
        let text = format!("{}\n", hex::encode(key));
        let draft = path.with_extension(format!("{}.new", hex::encode(random::<8>()?)));
        write_new(&draft, &text).map_err(io("make"))?;
        let named = fs::hard_link(&draft, path).or_else(|e| match e.kind() {
            ErrorKind::AlreadyExists => Err(e),
            // Where no file has two names, as on some network shares, it is made in place.
            _ => write_new(path, &text),
        });
        fs::remove_file(&draft).ok();
        match named {
            Ok(()) => {}
            // Somebody else was first, and theirs is the key.
            Err(e) if e.kind() == ErrorKind::AlreadyExists => return Self::open(path),
            Err(source) => return Err(io("make")(source)),
        }
        if let Some(Ok(dir)) =
            path.parent().map(|p| File::open(if p.as_os_str().is_empty() { Path::new(".") } else { p }))
        {
            dir.sync_all().map_err(io("sync the folder of"))?;
        }
        Self::from_bytes(&key)
    }
}

impl KeyVault for FileKey {
    fn wrap(&self, data_key: &[u8; 32]) -> Result<Vec<u8>, KeyError> {
        let mut sealed = data_key.to_vec();
        let nonce = self
            .cipher
            .seal_in_place_append_tag(Aad::from(WRAP_AAD), &mut sealed)
            .map_err(|_| KeyError::Crypto)?;
        let mut out = nonce.as_ref().to_vec();
        out.extend_from_slice(&sealed);
        Ok(out)
    }

    fn unwrap(&self, wrapped: &[u8]) -> Result<[u8; 32], KeyError> {
        let (nonce, sealed) = wrapped.split_at_checked(NONCE_LEN).ok_or(KeyError::Foreign)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| KeyError::Foreign)?;
        let mut sealed = sealed.to_vec();
        let plain = self
            .cipher
            .open_in_place(nonce, Aad::from(WRAP_AAD), &mut sealed)
            .map_err(|_| KeyError::Foreign)?;
        <[u8; 32]>::try_from(&*plain).map_err(|_| KeyError::Foreign)
    }

    fn hash_key(&self) -> [u8; 32] {
        self.hash_key
    }
}

/// Makes a file of mode 0600, of which nothing stays where it cannot be written.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if written.is_err() {
        fs::remove_file(path).ok();
    }
    written
}

pub(crate) fn random<const N: usize>() -> Result<[u8; N], KeyError> {
    let mut bytes = [0u8; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| KeyError::Crypto)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        reason = "tests"
    )]
    use super::*;

    #[test]
    fn a_key_file_is_made_once_with_mode_0600_and_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let made = FileKey::open_or_create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        let read = FileKey::open_or_create(&path).unwrap();
        assert_eq!(made.hash_key(), read.hash_key());
        let wrapped = made.wrap(&[7; 32]).unwrap();
        assert_eq!(read.unwrap(&wrapped).unwrap(), [7; 32]);
    }

    #[test]
    fn of_several_who_make_a_key_at_once_all_have_the_same_and_nothing_else_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let keys: Vec<[u8; 32]> = std::thread::scope(|scope| {
            let make = || FileKey::open_or_create(&path).unwrap().hash_key();
            let all: Vec<_> = (0..8).map(|_| scope.spawn(make)).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        // Whoever comes between a look and the making of one finds it there.
        let late = FileKey::create(&path).unwrap().hash_key();
        assert!(keys.iter().all(|key| *key == late));
        let files: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(files, ["key"]);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    }

    #[test]
    fn a_key_file_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        FileKey::open_or_create(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let said = FileKey::open_or_create(&path).unwrap_err().to_string();
        assert!(said.contains("0640") && said.contains("chmod 600"), "{said}");
    }

    #[test]
    fn a_file_that_is_no_key_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        fs::write(&path, "not a key").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(FileKey::open_or_create(&path), Err(KeyError::NotAKey { len: 9, .. })));
    }

    #[test]
    fn a_data_key_of_another_vault_or_with_a_changed_bit_does_not_unwrap() {
        let one = FileKey::from_bytes(&[1; 32]).unwrap();
        let other = FileKey::from_bytes(&[2; 32]).unwrap();
        let wrapped = one.wrap(&[9; 32]).unwrap();
        assert!(matches!(other.unwrap(&wrapped), Err(KeyError::Foreign)));
        for i in 0..wrapped.len() * 8 {
            let mut bad = wrapped.clone();
            bad[i / 8] ^= 1 << (i % 8);
            assert!(one.unwrap(&bad).is_err());
        }
        assert!(one.unwrap(&[]).is_err());
    }
}
