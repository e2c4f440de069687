//! The file that holds a ring's key: made once by `exo keygen`, copied to every host, read at a start.
//!
//! Its form is [`libexo::wire::key`]'s. This module sees to it that nobody but its owner can read
//! it: made with mode 0600, refused when others could have read or written it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

pub use libexo::wire::key::{Fingerprint, Key, KeyError, KeyId};

/// A key's line is far shorter; a longer file is no key.
const FILE_BYTES_MAX: u64 = 4096;

/// Why a key file cannot be used. Each ends with the next thing to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// It cannot be opened or read.
    #[error(
        "cannot read the key {path}: {error} (make one with exo keygen --out FILE, or copy the other hosts')"
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A folder, a pipe or a device.
    #[error("the key {path} is not a plain file (name the file that exo keygen wrote)")]
    Kind {
        /// The file.
        path: PathBuf,
    },
    /// Somebody else could change it.
    #[error(
        "the key {path} belongs to user {owner}, who is neither root nor user {me}, who reads it (chown it)"
    )]
    Owner {
        /// The file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Who runs this.
        me: u32,
    },
    /// Others may read or change it.
    #[error(
        "the key {path} is open to others (mode {mode:04o}): chmod 600 {path}, and make a new key if they may have read it"
    )]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// What it holds is no key.
    #[error("the key {path} cannot be used: {error}")]
    Content {
        /// The file.
        path: PathBuf,
        /// Why.
        error: KeyError,
    },
}

/// Reads a key and makes sure that only its owner could.
///
/// The file belongs to root or to the user who runs this, and is closed to others. Its group may
/// read it if it is root's: who gave it that group meant it. What is checked is what is read:
/// links are followed once.
///
/// # Errors
///
/// [`KeyFileError`]; no part of the key is in it.
pub fn read(path: &Path) -> Result<Key, KeyFileError> {
    let failed = |error| KeyFileError::Read {
        path: path.to_owned(),
        error,
    };
    // Opening a pipe without this would wait for a writer.
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).expect("a bit of an int");
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(nonblocking).open(path);
    let file = file.map_err(failed)?;
    let found = file.metadata().map_err(failed)?;
    let path = path.to_owned();
    if !found.is_file() {
        return Err(KeyFileError::Kind { path });
    }
    let (owner, me) = (found.uid(), rustix::process::geteuid().as_raw());
    if owner != 0 && owner != me {
        return Err(KeyFileError::Owner { path, owner, me });
    }
    let mode = found.mode() & 0o7777;
    if mode & closed_to(owner) != 0 {
        return Err(KeyFileError::Mode { path, mode });
    }
    let mut bytes = Vec::new();
    let read = file.take(FILE_BYTES_MAX).read_to_end(&mut bytes);
    if let Err(error) = read {
        return Err(KeyFileError::Read { path, error });
    }
    // Bytes that are no text become characters that are no digits.
    let text = String::from_utf8_lossy(&bytes);
    Key::parse(&text).map_err(|error| KeyFileError::Content { path, error })
}

/// Permissions that a key's file must not have.
const fn closed_to(owner: u32) -> u32 {
    if owner == 0 { 0o037 } else { 0o077 }
}

/// A new key from the kernel's random source.
///
/// # Errors
///
/// The kernel has none to give; none is known that would happen on.
pub fn fresh() -> io::Result<Key> {
    let mut bytes = [0; libexo::wire::key::KEY_BYTES];
    let mut filled = 0;
    while filled < bytes.len() {
        let flags = rustix::rand::GetRandomFlags::empty();
        match rustix::rand::getrandom(&mut bytes[filled..], flags) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Key::from_bytes(bytes))
}

/// Writes a key to a file of mode 0600, whole or not at all.
///
/// With `replace`, an earlier file gives way at once; without, it stays and this fails with
/// [`io::ErrorKind::AlreadyExists`].
///
/// # Errors
///
/// The folder cannot be written, or the file is there.
pub fn write(path: &Path, key: &Key, replace: bool) -> io::Result<()> {
    if !replace {
        return write_new(path, key);
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".new-{}", std::process::id()));
    let new = PathBuf::from(name);
    write_new(&new, key)?;
    fs::rename(&new, path).inspect_err(|_| forget(&new))
}

fn write_new(path: &Path, key: &Key) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    fill(&mut file, key).inspect_err(|_| forget(path))
}

fn fill(file: &mut File, key: &Key) -> io::Result<()> {
    file.write_all(format!("{}\n", key.reveal()).as_bytes())?;
    file.sync_all()
}

/// Takes away what could not be finished.
fn forget(path: &Path) {
    // Nothing more can be done; the error that led here is what the caller hears of.
    let _ = fs::remove_file(path);
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_written_key_is_read_and_belongs_to_its_owner_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        let key = fresh().expect("random bytes");
        write(&path, &key, false).expect("a new file");
        assert_eq!(read(&path).expect("just written"), key);
        let mode = fs::metadata(&path).expect("it is there").mode();
        assert_eq!(mode & 0o7777, 0o600);
        assert_ne!(key, fresh().expect("random bytes"));
    }

    #[test]
    fn an_earlier_key_stays_unless_it_is_to_be_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        let (first, second) = (Key::from_bytes([1; 32]), Key::from_bytes([2; 32]));
        write(&path, &first, false).expect("a new file");
        let refused = write(&path, &second, false).expect_err("it is there");
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(read(&path).expect("the first"), first);
        write(&path, &second, true).expect("replaced");
        assert_eq!(read(&path).expect("the second"), second);
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        write(&path, &Key::from_bytes([1; 32]), false).expect("a new file");
        for mode in [0o644, 0o604, 0o620, 0o606, 0o602] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("our own file");
            let error = read(&path).expect_err("open to others");
            assert!(matches!(error, KeyFileError::Mode { mode: found, .. } if found == mode));
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).expect("our own file");
        read(&path).expect("closed");
        assert_eq!((closed_to(0) & 0o040, closed_to(7) & 0o040), (0, 0o040));
    }

    #[test]
    fn what_is_no_key_file_is_refused_by_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let missing = read(&folder.path().join("none")).expect_err("nothing there");
        assert!(missing.to_string().contains("exo keygen"), "{missing}");
        assert!(matches!(
            read(folder.path()),
            Err(KeyFileError::Kind { .. })
        ));
        let path = folder.path().join("key");
        let key = Key::from_bytes([1; 32]);
        write(&path, &key, false).expect("a new file");
        let cut = &key.reveal()[..40];
        fs::write(&path, cut).expect("our own file");
        let error = read(&path).expect_err("cut");
        assert!(error.to_string().contains("40 characters"), "{error}");
        fs::write(&path, [0xff; 5000]).expect("our own file");
        assert!(matches!(read(&path), Err(KeyFileError::Content { .. })));
    }
}
