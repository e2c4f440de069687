//! The small record of a host, as it is read from a disk that may have done anything to it.

use libexo::ids::Epoch;
use libexo::wire::key::Key;
use libexo::wire::record::Record;

/// A record is what was written, or nothing; so is the line of a key.
pub fn run(bytes: &[u8]) {
    if let Ok(record) = Record::parse(bytes) {
        assert_eq!(record.emit(), bytes);
    }
    let text = String::from_utf8_lossy(bytes);
    if let Ok(key) = Key::parse(&text) {
        assert_eq!(key.reveal(), text.trim().to_lowercase());
    }
}

/// A record and a key.
pub fn seeds() -> Vec<Vec<u8>> {
    let record = Record {
        promised: Epoch(0x101),
        generation: 0x99,
        inc: 5,
        since: 4,
    };
    let key = Key::from_bytes([7; 32]);
    vec![
        record.emit(),
        Record::default().emit(),
        key.reveal().into_bytes(),
    ]
}
