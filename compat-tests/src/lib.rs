//! Exo.
