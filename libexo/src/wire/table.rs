//! A number for the table of hosts: hosts whose tables differ must not order together.
//!
//! BLAKE3-derive("exo host table v1", …), cut to 32 bits, over the hosts in the order of their
//! numbers: number u8, then name and addresses, each as length u32 and bytes, the list of addresses
//! after its count u32. It finds mistakes; it is no defence, which is what keys are for.

use crate::ids::HostId;

const CONTEXT: &str = "exo host table v1";

/// One row of the table.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Row<'a> {
    /// The host's place in the ring.
    pub host: HostId,
    /// What people call it.
    pub name: &'a str,
    /// Its addresses as text, in the order in which they are used.
    pub addresses: &'a [String],
}

/// The number of a table, whatever the order of its rows.
#[must_use]
pub fn digest(rows: &[Row<'_>]) -> u32 {
    let mut rows = rows.to_vec();
    rows.sort_unstable();
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    for row in rows {
        hasher.update(&[row.host.0]);
        text(&mut hasher, row.name);
        hasher.update(&count(row.addresses.len()));
        for address in row.addresses {
            text(&mut hasher, address);
        }
    }
    let hash = hasher.finalize();
    u32::from_le_bytes(*hash.as_bytes().first_chunk().expect("4 of 32 bytes"))
}

fn text(hasher: &mut blake3::Hasher, text: &str) {
    hasher.update(&count(text.len()));
    hasher.update(text.as_bytes());
}

fn count(count: usize) -> [u8; 4] {
    let count = u32::try_from(count).expect("a table of hosts is far below 4 GiB");
    count.to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(list: &[&str]) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn tables_that_differ_have_different_numbers_and_order_does_not_matter() {
        let (one, two) = (
            addresses(&["10.0.0.1"]),
            addresses(&["10.0.0.2", "10.1.0.2"]),
        );
        let row = |host, name, addresses| Row {
            host: HostId(host),
            name,
            addresses,
        };
        let table = [row(0, "a", &one[..]), row(1, "b", &two[..])];
        let [first, second] = table;
        assert_eq!(digest(&table), digest(&[second, first]));
        let mut numbers = vec![
            digest(&table),
            digest(&[]),
            digest(&[first]),
            digest(&[row(1, "a", &one), row(0, "b", &two)]),
            digest(&[row(0, "b", &one), row(1, "a", &two)]),
            digest(&[row(0, "a", &two), row(1, "b", &one)]),
            digest(&[first, row(1, "b", &two[..1])]),
            digest(&[first, row(1, "b", &addresses(&["10.0.0.210.1.0.2"]))]),
            digest(&[row(0, "a", &addresses(&["10.0.0.1", "10.0.0.1"])), second]),
        ];
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 9, "two of them are the same");
    }
}
