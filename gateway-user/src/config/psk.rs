//! Pre-shared keys: inline, or in a file that only its owner may read.

use std::fmt;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::mistake::Rule;

/// Longest key in octets.
const MAX_LEN: usize = 1024;

/// A pre-shared key: a Unicode string, the same on both sides. Redacted in `Debug`, zeroized on drop.
pub struct PresharedKey(Zeroizing<String>);

impl PresharedKey {
    /// Takes a key; the error is the rule.
    pub fn parse(text: &str) -> Result<Self, Rule> {
        if text.is_empty() {
            return Err("is not empty".into());
        }
        if text.len() > MAX_LEN {
            return Err(format!("has at most {MAX_LEN} octets").into());
        }
        Ok(Self(Zeroizing::new(text.to_owned())))
    }

    /// How many characters it has.
    pub(super) fn characters(&self) -> usize {
        self.0.chars().count()
    }

    /// The octets, for the IKE engine.
    pub fn expose(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for PresharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresharedKey(..)")
    }
}

/// In constant time, as far as the contents go.
impl PartialEq for PresharedKey {
    fn eq(&self, other: &Self) -> bool {
        self.expose().ct_eq(other.expose()).into()
    }
}

impl Eq for PresharedKey {}

/// Why a key file cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum KeyFileError {
    /// Group or others have access; octal permission bits.
    Mode(u32),
    /// Anything else, as the rule.
    Rule(Rule),
}

impl KeyFileError {
    /// The rule that the file breaks.
    pub(crate) fn into_rule(self) -> Rule {
        match self {
            Self::Mode(mode) => {
                format!("is readable by its owner only (chmod 600), and has mode {mode:03o}").into()
            }
            Self::Rule(rule) => rule,
        }
    }
}

/// Reads the key in `path`. One line break at the end does not belong to the key.
pub(crate) fn read_key_file(path: &Path) -> Result<PresharedKey, KeyFileError> {
    let unreadable = |error: std::io::Error| KeyFileError::Rule(format!("cannot be read: {error}").into());
    // O_NONBLOCK: a FIFO in place of a file must not stop the agent.
    let file = nix::fcntl::OFlag::O_NONBLOCK | nix::fcntl::OFlag::O_CLOEXEC;
    let file =
        std::os::unix::fs::OpenOptionsExt::custom_flags(std::fs::OpenOptions::new().read(true), file.bits())
            .open(path)
            .map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(KeyFileError::Rule("is not a regular file".into()));
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(KeyFileError::Mode(metadata.mode() & 0o777));
    }
    let mut octets = Zeroizing::new(Vec::with_capacity(MAX_LEN + 3));
    let limit = u64::try_from(MAX_LEN).unwrap_or(u64::MAX) + 3;
    file.take(limit).read_to_end(&mut octets).map_err(unreadable)?;
    let text =
        std::str::from_utf8(&octets).map_err(|_not_utf8| KeyFileError::Rule("does not hold UTF-8".into()))?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    PresharedKey::parse(text)
        .map_err(|rule| KeyFileError::Rule(format!("holds a key, but the key {rule}").into()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn key_file(contents: &[u8], mode: u32) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), contents).unwrap();
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        file
    }

    fn read(contents: &[u8], mode: u32) -> Result<PresharedKey, KeyFileError> {
        read_key_file(key_file(contents, mode).path())
    }

    #[test]
    fn one_line_break_at_the_end_is_not_part_of_the_key() {
        for contents in ["key", "key\n", "key\r\n"] {
            assert_eq!(
                read(contents.as_bytes(), 0o600).unwrap().expose(),
                b"key",
                "{contents:?}"
            );
        }
        assert_eq!(
            read("schlüssel \n\n".as_bytes(), 0o400).unwrap().expose(),
            "schlüssel \n".as_bytes()
        );
    }

    #[test]
    fn a_key_file_that_others_may_read_is_refused() {
        for mode in [0o644, 0o640, 0o604, 0o622] {
            assert_eq!(read(b"key", mode).unwrap_err(), KeyFileError::Mode(mode));
        }
    }

    #[test]
    fn an_empty_long_or_binary_key_is_refused() {
        for contents in [&b""[..], b"\n", &[b'a'; MAX_LEN + 1], &[0xff, 0xfe]] {
            assert!(matches!(read(contents, 0o600), Err(KeyFileError::Rule(_))));
        }
    }

    #[test]
    fn debug_does_not_print_the_key() {
        assert_eq!(
            format!("{:?}", PresharedKey::parse("secret").unwrap()),
            "PresharedKey(..)"
        );
    }
}
