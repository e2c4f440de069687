//! What goes out, and what is refused.

use compat_tests::both::Case;
use compat_tests::cases;

fn case(name: &'static str) -> Case {
    Case::new("send", name)
}

cases! {
    every_size_up_to_the_kernels_limit => case("sizes").bind("group");
    every_size_up_to_the_kernels_limit_in_ipv6 => case("sizes_6").bind("group");
    copies_from_before_connect_send_too => case("copied_first");
    sendto_fails_like_the_kernels => case("errors");
    sendmsg_gathers => case("gather");
    sendmmsg_stops_at_the_first_failure => case("many");
    sendmmsg_may_mix_targets => case("many_targets").bind("group");
    without_loop_the_sending_process_hears_nothing => case("loop_off");
    without_loop_other_processes_hear => case("loop_off_elsewhere").differs(
        "another process", "9 with loop", "12 without loop",
        "all members of one host would be silenced otherwise");
    pieces_make_one_datagram => case("more");
    the_first_piece_names_the_target => case("more_targets").bind("group");
    an_error_gives_up_the_pieces => case("more_errors").bind("group");
    datagrams_are_cut_into_segments => case("segments");
    pieces_come_by_every_call => case("more_ways");
    a_corked_socket_collects => case("corked").bind("group");
    pieces_make_one_datagram_in_ipv6 => case("more_6").bind("group");
    sendfile_sends_a_datagram => case("from_file");
    splice_sends_a_datagram => case("spliced");
    what_was_sent_before_close_arrives => case("sent_before_close");
    what_was_sent_before_exit_arrives => case("sent_before_exit");
    unmapped_buffers_are_efault => case("unmapped").bind("group");
    bad_pointers_are_efault => case("pointers");
    calls_of_one_socket_keep_their_order => case("send_order");
}
