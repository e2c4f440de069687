//! What the models of `docs/models.md` prove. The searches that take minutes are ignored; `make soak`
//! runs them, too.

#![allow(
    clippy::print_stdout,
    reason = "what was found is shown with --nocapture"
)]

mod exhaustive;
mod formation;
mod rules;
mod slides;
mod stories;
mod walks;
