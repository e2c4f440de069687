//! One socket, several processes: fork, vfork, exec, spawn, descriptors passed.

use compat_tests::both::Case;
use compat_tests::cases;

fn case(name: &'static str) -> Case {
    Case::new("process", name)
}

cases! {
    processes_on_one_socket_compete => case("shared_after_fork");
    parent_and_child_continue_behind_each_other => case("child_first");
    a_child_outlives_its_parent => case("parent_leaves");
    parent_and_children_send_on_one_socket => case("both_send");
    what_a_child_opens_is_its_own => case("child_joins").bind("group");
    a_socket_survives_exec => case("executes");
    a_socket_survives_exec_without_the_shim => case("executes_bare");
    execl_and_its_kin_pass_all_their_words => case("executes_by_list");
    a_socket_survives_execl_without_the_shim => case("executes_bare_by_list");
    a_socket_survives_execle_with_few_words => case("executes_by_short_list");
    a_socket_is_another_programs_input => case("executes_other_program");
    spawned_programs_get_the_socket => case("spawns");
    a_vfork_child_leaves_its_parent_alone => case("vforks");
    a_socket_can_be_passed_on => case("passes");
    members_killed_while_sending_disturb_nobody => case("killed").bind("group");
    a_reader_killed_with_the_lock_disturbs_nobody => case("killed_while_reading").bind("group");
    daemons_keep_their_socket => case("daemons");
}
