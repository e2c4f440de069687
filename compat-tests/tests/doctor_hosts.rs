//! `exo doctor` between hosts, on a network that is made to fail in one way after the other.

use anyhow::{Context, Result, ensure};
use compat_tests::binaries::{Binaries, is_native_only};
use compat_tests::compile::{python, python_program};
use compat_tests::deadline::Deadline;
use compat_tests::hosts::{Hosts, PORT, Settings, name};
use compat_tests::world::Under;
use nix::sys::signal::Signal;
use serde_json::Value;

/// What `exo doctor` measured from a host on, and its exit code.
struct Doctor {
    between: Value,
    checks: Value,
    code: Option<i32>,
}

fn doctor(hosts: &Hosts, host: usize) -> Result<Doctor> {
    let world = &hosts[host];
    let mut command = world.command(Under::Kernel, Binaries::find()?.exo)?;
    command.arg("--socket").arg(world.socket()?);
    command.args(["doctor", "--json"]);
    let ended = world.run("doctor", command, Deadline::seconds(20))?;
    let document: Value =
        serde_json::from_str(&ended.stdout).with_context(|| ended.stderr.clone())?;
    Ok(Doctor {
        between: document["between_hosts"].clone(),
        checks: document["checks"].clone(),
        code: ended.status.code(),
    })
}

/// Waits until these and no others are the findings of a host.
fn await_findings(hosts: &Hosts, host: usize, wanted: &[&str]) -> Result<Doctor> {
    let mut last = Value::Null;
    let found = Deadline::seconds(60).until("these findings", || {
        let it = doctor(hosts, host)?;
        last = it.between.clone();
        let found = last["findings"].as_array().context("no findings")?;
        let found: Vec<_> = found.iter().map(|it| it["what"].as_str()).collect();
        let wanted: Vec<_> = wanted.iter().map(|what| Some(*what)).collect();
        Ok((found == wanted).then_some(it))
    });
    found.with_context(|| format!("{wanted:?} on {}; last: {last:#}", name(host)))
}

#[test]
fn hosts_that_hear_each_other_have_nothing_to_find() -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    for transport in ["udp-multicast", "udp-broadcast", "tcp"] {
        let hosts = Hosts::start(Settings::new(3, transport))?;
        for host in [0, 2] {
            let Doctor {
                between, checks, ..
            } = await_findings(&hosts, host, &[])?;
            ensure!(between["has_majority"] == true, "{between:#}");
            let pairs = between["pairs"].as_array().context("no pairs")?;
            ensure!(pairs.len() == 6, "all ways between three hosts: {pairs:#?}");
            for pair in pairs {
                ensure!(pair["sent"] == 10 && pair["answered"] == 10, "{pair:#}");
                ensure!(pair["rtt_median_ns"].as_u64() > Some(0), "{pair:#}");
                ensure!(pair["largest_bytes"] == 1472, "{pair:#}");
                if transport == "tcp" {
                    ensure!(pair["tcp_answers"] == true, "{pair:#}");
                } else {
                    ensure!(pair["heard_to_all"] == 10, "{pair:#}");
                }
            }
            let checks = checks.as_array().context("no checks")?;
            let is_ours = |check: &&Value| check["name"] == "between hosts";
            let check = checks.iter().find(is_ours).context("no check")?;
            ensure!(check["level"] == "ok", "{check:#}");
        }
        hosts.close()?;
    }
    Ok(())
}

#[test]
fn what_is_wrong_between_hosts_is_named_with_what_to_do() -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let mut hosts = Hosts::start(Settings::new(3, "udp-multicast"))?;
    await_findings(&hosts, 0, &[])?;

    hosts.network().filter_multicast(0, 1)?;
    let deaf = ["nothing arrives at host1 by multicast from host0, but unicast does"];
    for host in hosts.all() {
        let it = await_findings(&hosts, host, &deaf)?;
        ensure!(it.code == Some(5), "{:?}", it.code);
        let fix = it.between["findings"][0]["fix"].as_str();
        ensure!(fix.is_some_and(|fix| fix.contains("udp-copies")), "{fix:?}");
    }
    hosts.network().pass_multicast(0, 1)?;

    hosts.network().set_mtu(0, 2, 1400)?;
    let short = ["host2 to host0", "host0 to host2"]
        .map(|way| format!("frames of 1472 bytes do not pass from {way}, only short ones do"));
    await_findings(&hosts, 1, &short.each_ref().map(String::as_str))?;
    hosts.network().set_mtu(0, 2, 1500)?;

    hosts.network().cut(2, 0)?;
    let wall = [
        "host0 does not answer host2, but others",
        "host2 does not answer host0, but others",
    ];
    await_findings(&hosts, 1, &wall)?;
    hosts.network().join(2, 0)?;

    hosts.end(2, Signal::SIGKILL)?;
    let it = await_findings(&hosts, 0, &["no answer at all from host2"])?;
    ensure!(it.code == Some(5), "{:?}", it.code);
    hosts.end(1, Signal::SIGKILL)?;
    let nobody = ["no answer at all from host1", "no answer at all from host2"];
    let it = await_findings(&hosts, 0, &nobody)?;
    ensure!(it.code == Some(4), "{:?}: {:#}", it.code, it.between);
    hosts.check()
}

#[test]
fn datagrams_that_are_no_probes_are_counted_and_dropped() -> Result<()> {
    if is_native_only() {
        return Ok(());
    }
    let mut hosts = Hosts::without_monitors(Settings::new(2, "udp-multicast"))?;
    hosts.add_monitor(0)?;
    // From host 1's probe port and from another, to host 0 alone and to the group.
    let world = &hosts[1];
    let mut command = world.command(Under::Kernel, python()?)?;
    command.arg(python_program("strays")).arg(world.address());
    command.arg((PORT + 1).to_string()).arg("239.255.88.79");
    command.arg(hosts[0].address());
    let ended = world.run("strays", command, Deadline::seconds(20))?.ok()?;
    let count = ended.stdout.trim().strip_prefix("sent ");
    let count = 2 * count.context("no count")?.parse::<u64>()?;
    let it = await_findings(&hosts, 0, &["no answer at all from host1"])?;
    let dropped = &it.between["dropped"];
    ensure!(dropped["refused"] == count, "{count}: {dropped}");
    ensure!(dropped["unknown_source"] == count, "{count}: {dropped}");
    hosts.add_monitor(1)?;
    await_findings(&hosts, 0, &[])?;
    hosts.close()
}
