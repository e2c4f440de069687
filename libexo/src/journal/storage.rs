//! The few things that the journal asks of a file system, and the real one.
//!
//! Everything is asked by name within one folder. Nothing written counts before `sync`, no name
//! made, changed or removed counts before `sync_folder`.

use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Name of the file whose lock says that somebody works in the folder.
pub const LOCK_NAME: &str = "lock";

/// One folder of files. Clones are the same folder.
pub trait Storage: Clone + fmt::Debug {
    /// An open file.
    type File: StorageFile + fmt::Debug;

    /// Names of all files, in any order.
    ///
    /// # Errors
    ///
    /// The system's.
    fn names(&self) -> io::Result<Vec<String>>;
    /// Makes an empty file; what had this name before is gone.
    ///
    /// # Errors
    ///
    /// The system's.
    fn create(&self, name: &str) -> io::Result<Self::File>;
    /// Opens a file to read and write; `None` if there is none.
    ///
    /// # Errors
    ///
    /// The system's.
    fn open(&self, name: &str) -> io::Result<Option<Self::File>>;
    /// Gives a file another name, in the place of what had it.
    ///
    /// # Errors
    ///
    /// The system's.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a name.
    ///
    /// # Errors
    ///
    /// The system's.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Puts the names on stable storage.
    ///
    /// # Errors
    ///
    /// The system's; what was to be synced may never be.
    fn sync_folder(&self) -> io::Result<()>;
}

/// One open file.
pub trait StorageFile {
    /// Its length.
    ///
    /// # Errors
    ///
    /// The system's.
    fn len_bytes(&self) -> io::Result<u64>;
    /// Reads up to `bytes.len()` bytes; 0 at the end.
    ///
    /// # Errors
    ///
    /// The system's.
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize>;
    /// Writes at least one byte if `bytes` has one, perhaps not all.
    ///
    /// # Errors
    ///
    /// The system's.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize>;
    /// Cuts or extends the file.
    ///
    /// # Errors
    ///
    /// The system's.
    fn set_len(&self, len_bytes: u64) -> io::Result<()>;
    /// Puts contents and length on stable storage.
    ///
    /// # Errors
    ///
    /// The system's; what was to be synced may never be, also if a later call succeeds.
    fn sync(&self) -> io::Result<()>;
}

/// Writes all of `bytes`.
pub(super) fn write_all<F: StorageFile>(file: &F, offset: u64, bytes: &[u8]) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let done = (bytes.len() - rest.len()) as u64;
        match file.write_at(offset + done, rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => rest = &rest[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads a file from its beginning to its end.
pub(super) fn read_all<F: StorageFile>(file: &F) -> io::Result<Vec<u8>> {
    let too_long = |_| io::Error::from(io::ErrorKind::FileTooLarge);
    let len = usize::try_from(file.len_bytes()?).map_err(too_long)?;
    let mut bytes = vec![0; len];
    let mut done = 0;
    while done < len {
        match file.read_at(done as u64, &mut bytes[done..]) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(done);
    Ok(bytes)
}

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Somebody works there.
    #[error(
        "{} is in use by another monitor (give each monitor a journal folder of its own, or stop the other)",
        path.display()
    )]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// The system refuses.
    #[error("cannot {action} {}: {source} (the folder above must exist, and this one belong to the monitor)", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

/// A folder of the real file system, locked against other monitors while a clone of it lives.
///
/// The lock belongs to the open file: a child made by `fork` without `exec` holds it, too.
#[derive(Clone, Debug)]
pub struct Folder(Arc<Locked>);

#[derive(Debug)]
struct Locked {
    path: PathBuf,
    folder: File,
    _lock: File,
}

impl Folder {
    /// Opens a folder, makes it (mode 0700) if there is none, and locks it.
    ///
    /// # Errors
    ///
    /// [`FolderError`]
    pub fn open(path: &Path) -> Result<Self, FolderError> {
        let failed = |action, path: &Path| {
            let path = path.to_path_buf();
            move |source| FolderError::Io {
                action,
                path,
                source,
            }
        };
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(failed("make", path)(error));
            }
            _ => {}
        }
        // A new folder must outlive a power cut, or the next start would look like a first one.
        // Also when it was there: the start that made it may have ended before this.
        let above = match path.parent() {
            Some(above) if !above.as_os_str().is_empty() => above,
            _ => Path::new("."),
        };
        File::open(above)
            .and_then(|folder| folder.sync_all())
            .map_err(failed("sync", above))?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path.join(LOCK_NAME))
            .map_err(failed("open the lock in", path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(FolderError::Busy {
                    path: path.to_path_buf(),
                });
            }
            Err(TryLockError::Error(error)) => return Err(failed("lock", path)(error)),
        }
        Ok(Self(Arc::new(Locked {
            path: path.to_path_buf(),
            folder: File::open(path).map_err(failed("open", path))?,
            _lock: lock,
        })))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path.join(name)
    }
}

impl Storage for Folder {
    type File = File;

    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.0.path)? {
            // What is no text is none of ours.
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(self.file(name))
    }

    fn open(&self, name: &str) -> io::Result<Option<File>> {
        match OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.file(name))
        {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.file(from), self.file(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.file(name))
    }

    fn sync_folder(&self) -> io::Result<()> {
        self.0.folder.sync_all()
    }
}

impl StorageFile for File {
    fn len_bytes(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        FileExt::read_at(self, bytes, offset)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        FileExt::write_at(self, bytes, offset)
    }

    fn set_len(&self, len_bytes: u64) -> io::Result<()> {
        Self::set_len(self, len_bytes)
    }

    /// `fdatasync`: contents and what is needed to read them, which includes the length.
    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}
