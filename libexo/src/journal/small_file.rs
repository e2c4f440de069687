//! Small files that are replaced whole: written beside, synced, renamed, and the folder synced.
//!
//! A reader finds the old contents or the new, never a mixture.

use super::JournalError;
use super::storage::{Storage, StorageFile as _, read_all, write_all};

/// Replaces a file. After an error nobody knows which of both contents a restart will find.
pub(super) fn replace<S: Storage>(
    storage: &S,
    name: &str,
    bytes: &[u8],
) -> Result<(), JournalError> {
    let beside = format!("{name}.new");
    let file = storage
        .create(&beside)
        .map_err(JournalError::io("make", &beside))?;
    write_all(&file, 0, bytes).map_err(JournalError::io("write", &beside))?;
    file.sync().map_err(JournalError::io("sync", &beside))?;
    storage
        .rename(&beside, name)
        .map_err(JournalError::io("rename", &beside))?;
    storage
        .sync_folder()
        .map_err(JournalError::io("sync the folder of", name))
}

/// Reads a file; `None` if there is none.
pub(super) fn read<S: Storage>(storage: &S, name: &str) -> Result<Option<Vec<u8>>, JournalError> {
    let file = storage.open(name).map_err(JournalError::io("open", name))?;
    file.map(|file| read_all(&file).map_err(JournalError::io("read", name)))
        .transpose()
}
