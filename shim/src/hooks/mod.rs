//! The intercepted calls, by family.

mod ancillary;
pub(crate) mod format;
pub(crate) mod lifecycle;
mod mail;
mod memberships;
pub(crate) mod naming;
pub(crate) mod options;
mod peek;
pub(crate) mod poll;
pub(crate) mod process;
pub(crate) mod raw;
pub(crate) mod recv;
pub(crate) mod select;
pub(crate) mod send;
