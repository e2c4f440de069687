//! Memberships, and what a socket remembers.

use compat_tests::both::Case;
use compat_tests::cases;
use std::fmt::Write;

fn case(name: &'static str) -> Case {
    Case::new("options", name)
}

/// `[[group]]` tables for 239.1.3.1 to 239.1.3.21.
fn many_groups() -> String {
    let mut tables = String::new();
    for last in 1..=21 {
        writeln!(
            tables,
            "[[group]]\nname = \"m{last}\"\naddress = \"239.1.3.{last}:5000\""
        )
        .expect("writing to a string cannot fail");
    }
    tables
}

cases! {
    membership_fails_like_the_kernels => case("membership_errors");
    twenty_memberships_and_no_more =>
        case("twenty_memberships").more_groups(&many_groups());
    every_form_of_join_works => case("forms_of_join");
    join_may_come_before_bind => case("join_before_bind");
    join_may_come_without_bind => case("join_without_bind");
    memberships_of_one_source => case("one_source");
    options_are_remembered => case("memory");
    a_small_queue_loses_nothing => case("small_queue").differs(
        "all heard", "0", "1", "what Exo took is never dropped");
    arrival_times_can_be_asked_for => case("timestamps");
    bad_pointers_are_efault => case("pointers");
    copies_of_a_descriptor_are_one_socket => case("descriptors");
}
