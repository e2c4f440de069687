//! What comes in, and how it is cut.

use compat_tests::both::Case;
use compat_tests::cases;

fn case(name: &'static str) -> Case {
    Case::new("recv", name)
}

cases! {
    one_receive_is_one_datagram => case("boundaries");
    flags_mean_what_they_mean => case("flags");
    empty_datagrams_and_empty_buffers => case("nothing");
    recvmsg_scatters => case("scatter");
    addresses_are_cut_to_the_room_given => case("addresses");
    control_messages_as_asked_for => case("controls");
    control_messages_in_ipv6 => case("controls_6");
    pktinfo_names_the_group => case("pktinfo_of_groups").bind("any");
    fionread_is_the_next_datagrams_size => case("waiting_bytes");
    receive_limits_expire => case("timeouts");
    recvmmsg_takes_what_is_there => case("many");
    nonblocking_is_shared_by_copies => case("not_blocking");
    a_late_member_hears_no_history => case("late_join");
    what_arrived_before_leave_stays => case("kept_after_leave");
    a_queue_keeps_its_order => case("queue");
    unmapped_buffers_are_efault => case("unmapped");
    bad_pointers_are_efault => case("pointers");
    peek_offset_moves => case("peek_offset");
    a_peek_beyond_the_end_waits => case("peek_waits");
}
