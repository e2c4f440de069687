//! Unmodified programs, natively and under Exo, compared.
//!
//! A test makes a [`world::World`]: a network namespace of its own with one multicast link, and, when
//! asked, a private monitor. Programs are started in it with the kernel's multicast or with Exo's.
//! [`both::Case`] runs one small C program in both ways and compares what it printed.
//!
//! [`hosts::Hosts`] are several worlds with a monitor each, joined by a network that can be cut, and
//! [`load::Load`] is many programs on all of them.
//!
//! Never here: anything imported from Exo. These tests run binaries, as users do.

pub mod binaries;
pub mod both;
pub mod compile;
pub mod deadline;
pub mod hosts;
pub mod load;
pub mod member;
pub mod network;
pub mod program;
pub mod sockperf;
pub mod told;
pub mod trace;
pub mod traced;
pub mod world;
