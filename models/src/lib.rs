//! The ring's rules as models: small state machines without time, sizes or sockets, searched
//! through by stateright.
//!
//! - [`ring`]: the rules of `docs/ring.md`, each of which can be taken away;
//! - [`formation`]: how a generation begins, with and without what a host keeps;
//! - [`slides`]: the published rules, with one switch for each gap that they leave;
//! - [`search`]: every state up to a depth, and stories told in words.
//!
//! The network of all three is the set of the frames ever sent: any host may take any of them at any
//! time, or never. That covers loss, delay, duplication, reordering, partition and healing. Any
//! time-out may fire at any time. A crash with memory is a pause; a restart without it is an action.

pub mod formation;
pub mod ring;
pub mod search;
pub mod slides;

/// The letter of a host: A, B, C, …
fn letter(host: u8) -> char {
    char::from(b'A' + host)
}
