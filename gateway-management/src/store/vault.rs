//! Secrets at rest: AES-256-GCM under a key that is not in the database.

use std::fmt;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::{StoreError, random};

/// Octets of the key.
const KEY_LEN: usize = 32;

/// Seals and opens secrets. What a secret belongs to is authenticated with it: a row's secret does not open in another row.
pub struct Vault(LessSafeKey);

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault(..)")
    }
}

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It cannot be read or made.
    #[error("the key file cannot be used: {0}")]
    Io(#[from] std::io::Error),
    /// Group or others have access.
    #[error("the key file is readable by its owner only (chmod 600), and has mode {0:03o}")]
    Mode(u32),
    /// It holds something else.
    #[error("the key file holds exactly 32 octets, and this one does not")]
    Length,
    /// The operating system gives no randomness.
    #[error("the operating system has no randomness")]
    NoRandomness,
}

impl Vault {
    /// A vault under this key.
    pub fn new(key: &[u8; KEY_LEN]) -> Self {
        match UnboundKey::new(&AES_256_GCM, key) {
            Ok(key) => Self(LessSafeKey::new(key)),
            Err(ring::error::Unspecified) => unreachable!("AES-256 takes any 32 octets"),
        }
    }

    /// The vault under the key in `file`. A missing file is made with a fresh key, for its owner only.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_file(file: &Path) -> Result<Self, KeyError> {
        match std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(file)
        {
            Ok(mut made) => {
                let key = Zeroizing::new(random::<KEY_LEN>().map_err(|_none| KeyError::NoRandomness)?);
                made.write_all(&*key)?;
                made.sync_all()?;
                if let Some(directory) = file.parent().filter(|path| !path.as_os_str().is_empty()) {
                    std::fs::File::open(directory)?.sync_all()?;
                }
                return Ok(Self::new(&key));
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error.into()),
        }
        let opened = std::fs::File::open(file)?;
        let mode = opened.metadata()?.mode();
        if mode & 0o077 != 0 {
            return Err(KeyError::Mode(mode & 0o777));
        }
        let mut octets = Zeroizing::new(Vec::with_capacity(KEY_LEN + 1));
        opened
            .take(u64::try_from(KEY_LEN).unwrap_or(u64::MAX) + 1)
            .read_to_end(&mut octets)?;
        let key: &[u8; KEY_LEN] = octets
            .as_slice()
            .try_into()
            .map_err(|_other_length| KeyError::Length)?;
        Ok(Self::new(key))
    }

    /// Seals a secret that belongs to `owner`: nonce, ciphertext, tag. Nonces are random: 2^32 secrets are far away.
    pub(super) fn seal(&self, owner: &str, secret: &str) -> Result<Vec<u8>, StoreError> {
        let nonce = random::<NONCE_LEN>()?;
        let mut octets = Zeroizing::new(Vec::with_capacity(secret.len() + AES_256_GCM.tag_len()));
        octets.extend_from_slice(secret.as_bytes());
        let sealed = self.0.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(owner),
            &mut *octets,
        );
        sealed.map_err(|ring::error::Unspecified| StoreError::Damaged("a secret is too long"))?;
        Ok([nonce.as_slice(), octets.as_slice()].concat())
    }

    /// Opens what [`Self::seal`] made for the same owner.
    pub(super) fn open(&self, owner: &str, sealed: &[u8]) -> Option<Zeroizing<String>> {
        let (nonce, ciphertext) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut octets = Zeroizing::new(ciphertext.to_vec());
        let secret = self
            .0
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(owner),
                &mut octets,
            )
            .ok()?;
        Some(Zeroizing::new(std::str::from_utf8(secret).ok()?.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_secret_opens_for_its_owner_only_and_not_when_changed() {
        let vault = Vault::new(&[3; 32]);
        let mut sealed = vault.seal("tunnel vpnx-1", "schlüssel").unwrap();
        assert!(
            !sealed
                .windows("schlüssel".len())
                .any(|part| part == "schlüssel".as_bytes())
        );
        assert_ne!(
            sealed,
            vault.seal("tunnel vpnx-1", "schlüssel").unwrap(),
            "nonces repeat"
        );
        assert_eq!(
            vault.open("tunnel vpnx-1", &sealed).unwrap().as_str(),
            "schlüssel"
        );
        assert!(vault.open("tunnel vpnx-2", &sealed).is_none());
        assert!(Vault::new(&[4; 32]).open("tunnel vpnx-1", &sealed).is_none());
        sealed[NONCE_LEN] ^= 1;
        assert!(vault.open("tunnel vpnx-1", &sealed).is_none());
        assert!(vault.open("tunnel vpnx-1", &sealed[..5]).is_none());
    }

    #[test]
    fn a_missing_key_file_is_made_for_its_owner_and_others_are_checked() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("store.key");
        let sealed = Vault::from_file(&file).unwrap().seal("x", "secret").unwrap();
        assert_eq!(
            std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(
            Vault::from_file(&file)
                .unwrap()
                .open("x", &sealed)
                .unwrap()
                .as_str(),
            "secret"
        );
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Vault::from_file(&file), Err(KeyError::Mode(0o640))));
        std::fs::write(&file, [0; 33]).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(Vault::from_file(&file), Err(KeyError::Length)));
    }
}
