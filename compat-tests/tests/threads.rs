//! Threads on one socket.

use compat_tests::both::Case;
use compat_tests::cases;

fn case(name: &'static str) -> Case {
    Case::new("threads", name)
}

cases! {
    each_datagram_goes_to_exactly_one_thread => case("each_once");
    threads_send_on_one_socket => case("all_send");
    threads_send_and_receive_on_one_socket => case("send_and_receive");
    shutdown_wakes_a_blocked_reader => case("shutdown_wakes").sends_nothing();
    close_under_a_blocked_reader_breaks_nothing => case("close_while_blocked");
    blocked_calls_can_be_cancelled => case("cancel");
    busy_calls_can_be_cancelled => case("cancel_busy");
    sockets_come_and_go_among_threads => case("many_sockets");
    fork_among_threads_leaves_no_lock_held => case("fork_among_threads").bind("group");
}
