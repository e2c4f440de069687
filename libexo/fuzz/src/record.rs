//! The small record of a host and files of keys, as they are read from a disk that may have done
//! anything to them.

use libexo::ids::Epoch;
use libexo::wire::key::Key;
use libexo::wire::keys::Keys;
use libexo::wire::record::Record;

/// A record is what was written, or nothing; so are the line of a key and a file of keys.
pub fn run(bytes: &[u8]) {
    if let Ok(record) = Record::parse(bytes) {
        assert_eq!(record.emit(), bytes);
    }
    let text = String::from_utf8_lossy(bytes);
    if let Ok(key) = Key::parse(&text) {
        assert_eq!(key.reveal(), text.trim().to_lowercase());
    }
    if let Ok(keys) = Keys::parse(&text) {
        assert_eq!(Keys::parse(&keys.reveal()), Ok(keys));
    }
}

/// Records, a key, and keys in the middle of a change.
pub fn seeds() -> Vec<Vec<u8>> {
    let record = Record {
        promised: Epoch(0x101),
        generation: 0x99,
        inc: 5,
        since: 4,
    };
    let key = Key::from_bytes([7; 32]);
    let added = Keys::from(key.clone()).with_next(Key::from_bytes([8; 32]));
    let added = added.expect("two keys");
    let switched = added.clone().switch().expect("one waits");
    vec![
        record.emit(),
        Record::default().emit(),
        key.reveal().into_bytes(),
        added.reveal().into_bytes(),
        switched.reveal().into_bytes(),
    ]
}
