//! Who a socket is: names, binds, connections, copies.

use compat_tests::both::Case;
use compat_tests::cases;

fn case(name: &'static str) -> Case {
    Case::new("naming", name)
}

cases! {
    names_and_types_are_those_asked_for => case("names").sends_nothing();
    bind_fails_like_the_kernels => case("bind_errors").sends_nothing();
    second_bind_needs_reuse => case("second_bind").sends_nothing();
    each_member_gets_a_copy => case("copies");
    each_member_gets_a_copy_with_reuseport => case("copies_reuseport");
    a_sending_member_gets_its_own_copy => case("own_copy");
    source_is_the_senders_and_can_be_answered => case("source");
    connected_member_hears_only_its_peer => case("connected_receiver").bind("group");
    connecting_to_the_first_sender_works => case("connect_like_iperf").bind("group");
    connected_sender_sends_by_every_call => case("connected_sender");
    a_member_bound_to_a_group_hears_only_that => case("filter_by_bind");
    a_member_bound_to_any_hears_unicast_too => case("unicast_too").bind("any");
    who_did_not_join_hears_nothing => case("not_joined").differs(
        "not a member", "1", "0", "only members hear a group, whoever else has joined it");
    multicast_all_can_be_switched_off => case("multicast_all_off");
    shutdown_of_an_unconnected_member => case("shutdown_unconnected");
    addresses_are_free_after_close => case("rebind_after_close");
    ipv6_groups_work => case("group_6");
    dual_stack_members_of_an_ipv4_group_work => case("dual_stack");
}
