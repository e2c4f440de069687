//! The words between an application, an operator and the monitor.
//!
//! A sequenced-packet Unix socket carries one request or reply a packet ([`message`]), with the
//! descriptors of shared memory beside it ([`channel`]). The kernel tells the monitor who asks.
//! Never here: who may do what (the monitor's policy), datagrams (they go through shared memory).

pub mod channel;
pub mod message;
pub mod operator;
