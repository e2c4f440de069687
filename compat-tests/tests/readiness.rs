//! When a socket is ready, and when it is not.

use compat_tests::both::Case;
use compat_tests::cases;

fn case(name: &'static str) -> Case {
    Case::new("ready", name)
}

cases! {
    poll_is_exact => case("with_poll");
    select_is_exact => case("with_select");
    level_triggered_epoll => case("level");
    edge_triggered_epoll_has_an_edge_per_arrival => case("edge");
    edge_triggered_epoll_added_late => case("edge_added_late");
    one_shot_epoll_fires_once => case("one_shot");
    registrations_before_join_stay_alive => case("registered_before_join");
    nested_epoll => case("nested");
    one_socket_in_two_sets => case("two_sets");
    group_sockets_beside_others => case("mixed").bind("group");
    every_sleeping_call_is_woken => case("wake");
    bad_pointers_are_efault => case("pointers");
}
