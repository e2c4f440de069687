//! Streams over sockets, and descriptors closed behind the shim's back.

use compat_tests::both::Case;
use compat_tests::cases;

fn case(name: &'static str) -> Case {
    Case::new("stdio", name)
}

cases! {
    a_stream_reads_lines => case("reads_lines");
    a_stream_writes_lines => case("writes_lines");
    formatted_text_is_a_datagram => case("formats");
    a_stream_beside_plain_calls => case("both_ways");
    numbers_are_free_after_close => case("reuse_after_close");
    numbers_are_free_after_fclose => case("reuse_after_fclose");
    numbers_are_free_after_closefrom => case("reuse_after_closefrom");
    numbers_are_free_after_close_range => case("reuse_after_close_range");
    dup2_replaces_members_and_makes_them => case("reuse_by_dup2");
    numbers_are_free_after_freopen => case("reuse_by_freopen");
    numbers_are_free_after_raw_calls => case("reuse_by_raw_call");
    raw_calls_send_and_receive => case("raw_calls");
    closing_what_one_does_not_know_is_harmless => case("other_descriptors");
    other_descriptors_work_beside_a_member => case("odd_io");
}
