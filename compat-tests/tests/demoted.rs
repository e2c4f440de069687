//! Kernel delivery: what a program without the shim sees of the sockets that it inherits.

use anyhow::{Result, ensure};
use compat_tests::binaries::is_native_only;
use compat_tests::both::Case;
use compat_tests::cases;
use compat_tests::compile::c_program;
use compat_tests::deadline::Deadline;
use compat_tests::world::{ADDRESS, GROUPS, LINK, Under, World};

fn case(name: &'static str) -> Case {
    Case::new("demoted", name)
}

cases! {
    a_program_without_the_shim_sees_who_sent => case("sources").bind("group");
    a_program_without_the_shim_sees_who_sent_over_ipv6 => case("sources6").bind("group");
    a_socket_with_a_stream_sees_who_sent => case("sources_of_a_stream").bind("group");
    all_sizes_come_to_a_program_without_the_shim => case("sizes");
    all_sizes_come_to_a_program_without_the_shim_over_ipv6 => case("sizes6").bind("group");
    unicast_comes_to_a_program_without_the_shim => case("plain_unicast").bind("any");
    what_is_sent_behind_the_monitors_back_is_not_received => case("forgeries").bind("group");
    what_is_sent_behind_the_monitors_back_is_not_received_over_ipv6 =>
        case("forgeries6").bind("group");
    without_rights_the_datagram_comes_and_its_source_does_not =>
        case("without_rights").bind("group")
            .differs("from the sender", "1", "0", "forging an address takes CAP_NET_RAW");
}

/// Natively most of it would be lost, so this has nothing to be compared with.
fn nothing_is_lost(case: &str) -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let world = World::with_monitor(GROUPS)?;
    for bind in ["group", "any"] {
        let mut command = world.command(Under::Exo, c_program("demoted")?)?;
        command
            .arg(case)
            .envs([("BIND", bind), ("ADDRESS", ADDRESS), ("LINK", LINK)]);
        let ended = world.run(case, command, Deadline::seconds(40))?.ok()?;
        ensure!(
            ended.stdout == "right: 3030 of 3030\nchild: exit 0\nend\n",
            "bound to {bind}: {}",
            ended.stdout
        );
    }
    world.close()
}

#[test]
fn the_monitor_sends_no_more_than_a_queue_takes() {
    nothing_is_lost("floods").unwrap();
}

#[test]
fn the_monitor_sends_no_more_than_a_queue_takes_over_ipv6() {
    nothing_is_lost("floods6").unwrap();
}
