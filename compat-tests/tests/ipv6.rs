//! Several programs on one host in a group of IPv6, whose doorbells have one address: `::1`.

use anyhow::{Context, Result};
use compat_tests::binaries::is_native_only;
use compat_tests::deadline::Deadline;
use compat_tests::told::Told;
use compat_tests::world::{GROUPS, World};

#[test]
fn every_member_of_an_ipv6_group_on_one_host_is_woken() -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let world = World::with_monitor(GROUPS)?;
    let mut all = Vec::new();
    for (call, open) in [
        ("poll", "open"),
        ("epoll", "open"),
        ("select", "join-first"),
        ("epoll", "open any"),
    ] {
        let mut told = Told::start_with(&world, &["GROUP=ff15::1"])?;
        told.has(open, "ok")?;
        all.push((call, open, told));
    }
    for text in ["one", "two"] {
        for (call, _, told) in &mut all {
            told.tell(call)?;
            told.program.wait_quiet(Deadline::seconds(20))?;
        }
        let mut sender = Told::start_with(&world, &["GROUP=ff15::1"])?;
        sender.has("open", "ok")?;
        sender.has(&format!("send {text}"), "ok")?;
        for (call, open, told) in &mut all {
            told.expect(text)
                .with_context(|| format!("{call} after {open}"))?;
        }
    }
    world.close()
}
