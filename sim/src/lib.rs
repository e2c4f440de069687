//! Many hosts of an Exo ring in one thread, from one seed: the engine that the monitor runs, with
//! a virtual clock, a virtual network, virtual disks and faults in between.
//!
//! A schedule has two phases. First the steps that its [`plan`] chose come, and after every event
//! the [`checker`] compares what hosts deliver. Then the network heals, every host runs, and
//! within bounded time all must have delivered the same, with a new message from each. The same
//! seed gives the same run, event by event. A [`scenario`] is a plan that a person wrote.

pub mod checker;
pub mod cluster;
pub mod examine;
pub mod fault;
pub mod outcome;
pub mod plan;
pub mod prng;
pub mod rack;
pub mod scenario;
pub mod shrink;
pub mod step;
pub mod trace;

pub use cluster::{replay_of_this_thread, run, run_watched};
pub use examine::examine;
pub use fault::Fault;
pub use outcome::{Failure, Outcome};
pub use plan::Plan;
pub use shrink::{Shrunk, shrink};
