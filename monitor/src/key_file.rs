//! The file that holds a ring's key, and while that is being changed a second one: made by `exo
//! keygen`, copied to every host, read at a start and at a reload.
//!
//! Its form is [`libexo::wire::keys`]'s. This module sees to it that nobody but its owner can read
//! it: made with mode 0600, refused when others could have read or written it, and changed whole or
//! not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

pub use libexo::wire::key::{Fingerprint, Key, KeyError, KeyId};
pub use libexo::wire::keys::{Keys, KeysError, Role, StepError};

/// Three lines are far shorter; a longer file holds no keys.
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
    /// What it holds is no key, or not one to seal with.
    #[error("the key {path} cannot be used: {error}")]
    Content {
        /// The file.
        path: PathBuf,
        /// Why.
        error: KeysError,
    },
}

/// Reads the keys and makes sure that only its owner could.
///
/// The file belongs to root or to the user who runs this, and is closed to others. Its group may
/// read it if it is root's: who gave it that group meant it. What is checked is what is read:
/// links are followed once.
///
/// # Errors
///
/// [`KeyFileError`]; no part of a key is in it.
pub fn read(path: &Path) -> Result<Keys, KeyFileError> {
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
    Keys::parse(&text).map_err(|error| KeyFileError::Content { path, error })
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

/// Writes keys to a file of mode 0600, whole or not at all, and to the disk.
///
/// With `replace`, an earlier file gives way at once; without, it stays and this fails with
/// [`io::ErrorKind::AlreadyExists`].
///
/// # Errors
///
/// The folder cannot be written, or the file is there.
pub fn write(path: &Path, keys: &Keys, replace: bool) -> io::Result<()> {
    if replace {
        return put(path, keys, None);
    }
    write_new(path, keys, None)?;
    sync_folder(path)
}

/// Puts other keys into a file that is there, whole or not at all. Who owns it and may read it stays
/// as it is: a monitor that is not root's reads it as a member of its group.
///
/// # Errors
///
/// The folder cannot be written, or the file cannot be given to its owner.
pub fn change(path: &Path, keys: &Keys) -> io::Result<()> {
    let path = path.canonicalize()?; // a link stays one
    let found = path.metadata()?;
    put(&path, keys, Some(&found))
}

fn put(path: &Path, keys: &Keys, owned_as: Option<&fs::Metadata>) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".new-{}", std::process::id()));
    let new = PathBuf::from(name);
    write_new(&new, keys, owned_as)?;
    fs::rename(&new, path).inspect_err(|_| forget(&new))?;
    sync_folder(path)
}

fn write_new(path: &Path, keys: &Keys, owned_as: Option<&fs::Metadata>) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    fill(&mut file, keys, owned_as).inspect_err(|_| forget(path))
}

fn fill(file: &mut File, keys: &Keys, owned_as: Option<&fs::Metadata>) -> io::Result<()> {
    if let Some(found) = owned_as {
        std::os::unix::fs::fchown(&*file, Some(found.uid()), Some(found.gid()))?;
        // After the owner, so that nobody else gets to read it in between.
        file.set_permissions(fs::Permissions::from_mode(found.mode() & 0o7777))?;
    }
    file.write_all(keys.reveal().as_bytes())?;
    file.sync_all()
}

/// A name that was given is on the disk once its folder is.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
}

/// Takes away what could not be finished.
fn forget(path: &Path) {
    // Nothing more can be done; the error that led here is what the caller hears of.
    let _ = fs::remove_file(path);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(byte: u8) -> Keys {
        Key::from_bytes([byte; 32]).into()
    }

    #[test]
    fn a_written_key_is_read_and_belongs_to_its_owner_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        let key = fresh().expect("random bytes");
        write(&path, &key.clone().into(), false).expect("a new file");
        assert_eq!(read(&path).expect("just written"), key.clone().into());
        let mode = fs::metadata(&path).expect("it is there").mode();
        assert_eq!(mode & 0o7777, 0o600);
        assert_ne!(key, fresh().expect("random bytes"));
    }

    #[test]
    fn an_earlier_key_stays_unless_it_is_to_be_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        let (first, second) = (keys(1), keys(2));
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
        write(&path, &keys(1), false).expect("a new file");
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
        write(&path, &keys(1), false).expect("a new file");
        let cut = &keys(1).reveal()[..40];
        fs::write(&path, cut).expect("our own file");
        let error = read(&path).expect_err("cut");
        assert!(error.to_string().contains("40 characters"), "{error}");
        fs::write(&path, [0xff; 5000]).expect("our own file");
        assert!(matches!(read(&path), Err(KeyFileError::Content { .. })));
    }

    #[test]
    fn a_changed_file_stays_its_owners_and_a_link_stays_a_link() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, link) = (folder.path().join("key"), folder.path().join("link"));
        write(&path, &keys(1), false).expect("a new file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).expect("our own file");
        std::os::unix::fs::symlink(&path, &link).expect("a link");
        let added = keys(1).with_next(Key::from_bytes([2; 32])).expect("a step");
        change(&link, &added).expect("changed");
        assert_eq!(read(&path).expect("changed"), added);
        let found = fs::symlink_metadata(&path).expect("it is there");
        assert_eq!(found.mode() & 0o7777, 0o400);
        let link = fs::symlink_metadata(&link).expect("it is there");
        assert!(link.is_symlink());
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 2);
        let nothing = change(&folder.path().join("none"), &added);
        assert_eq!(
            nothing.expect_err("none is made").kind(),
            io::ErrorKind::NotFound
        );
    }
}
