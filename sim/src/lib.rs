//! Many hosts of an Exo ring in one thread, from one seed: the engine that the monitor runs, with
//! a virtual clock, a virtual network and faults in between.
//!
//! A schedule has two phases. First the faults that its [`plan`] chose come at random, and after
//! every event the [`checker`] compares what hosts deliver. Then the network heals, every host
//! runs, and within bounded time all must have delivered the same, with a new message from each.
//! The same seed gives the same run, event by event.

pub mod checker;
pub mod cluster;
pub mod outcome;
pub mod plan;
pub mod prng;
pub mod rack;

pub use cluster::{name_seeds_of_panics, run};
pub use outcome::{Failure, Outcome};
pub use plan::Plan;
