//! `io_uring`: a ring reads a socket past the shim, so the kernel delivers. Where the kernel allows
//! no rings the cases say so and do without.

use compat_tests::both::Case;
use compat_tests::cases;

fn case(name: &'static str) -> Case {
    Case::new("rings", name)
}

cases! {
    a_ring_made_after_the_join_receives_all => case("ring_after_join");
    a_ring_made_before_the_join_receives_all => case("ring_before_join");
    a_ring_that_waits_is_served => case("ring_waits");
    a_ring_sees_who_sent => case("ring_sees_sources").bind("group");
}
