//! `exo doctor`: is this machine fit for Exo, and the network between the hosts of its ring?
//!
//! Every check tries the thing itself instead of reading about it, and says how to mend it. Nothing
//! is changed. A machine without a running monitor is healthy: `exo run -g` starts one. Between
//! hosts the monitors measure ([`super::doctor_hosts`]).

use std::fmt::Write as _;
use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::process::ExitCode;

use exo_monitor::config::{self, Arguments, CONFIG_FILE};
use object::read::elf::{FileHeader, SectionTable};
use object::{LittleEndian, ReadCache, elf};
use rustix::fs::{Access, MemfdFlags, SealFlags};
use rustix::process::{PidfdFlags, Resource};
use serde::Serialize;

use super::doctor_hosts::{self, Between};
use crate::errors::{FINDINGS, NO_MAJORITY, NO_MONITOR};
use crate::output::{Level, Output, counted};
use crate::place;
use crate::program::{Obstacle, Program};
use crate::status;

/// Descriptors that a busy program and its shim need.
const NOFILE_MIN: u64 = 1024;

/// The calls without which the shim takes nothing.
const SHIM_EXPORTS: &[&str] = &["bind", "setsockopt", "sendto", "recvfrom"];

/// The checks between hosts.
const HOSTS: &str = "between hosts";

#[derive(Serialize)]
struct Doctor {
    schema: &'static str,
    ok: bool,
    checks: Vec<Check>,
    /// What the hosts of the ring measured, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    between_hosts: Option<Between>,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    level: Level,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self {
            name,
            level: Level::Ok,
            found: found.into(),
            fix: None,
        }
    }

    fn warn(name: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            name,
            level: Level::Warn,
            found: found.into(),
            fix: Some(fix.into()),
        }
    }

    fn fail(name: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            name,
            level: Level::Fail,
            found: found.into(),
            fix: Some(fix.into()),
        }
    }
}

/// Looks at everything; exit code 5 when something needs attention, 4 when no majority of the ring's
/// hosts answers.
pub(crate) fn run(socket: Option<&Path>, out: &Output) -> anyhow::Result<ExitCode> {
    let mut checks = vec![
        monitor(socket),
        shim(),
        daemon(),
        private_folder(),
        configuration(),
        kernel(),
        sealing(),
        pidfd(),
        loopback(),
        multicast(),
        descriptors(),
        proc_readable(),
        preloading(),
        rights(),
    ];
    let between_hosts = doctor_hosts::ask(socket).unwrap_or_else(|finding| {
        checks.push(Check::warn(HOSTS, finding.what, finding.fix));
        None
    });
    if let Some(between) = &between_hosts {
        let findings = between.findings.iter();
        checks.extend(findings.map(|finding| Check::warn(HOSTS, &finding.what, &finding.fix)));
        if between.findings.is_empty() {
            checks.push(Check::ok(HOSTS, "all hear each other"));
        }
    }
    let ok = checks.iter().all(|check| check.level == Level::Ok);
    let report = Doctor {
        schema: "exo.doctor/1",
        ok,
        checks,
        between_hosts,
    };
    out.report(&report, || text(&report))?;
    let has_majority = |between: &Between| between.has_majority;
    Ok(if !report.between_hosts.as_ref().is_none_or(has_majority) {
        ExitCode::from(NO_MAJORITY)
    } else if ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FINDINGS)
    })
}

fn text(report: &Doctor) -> String {
    let mut text = String::new();
    for check in &report.checks {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{}  {:<14} {}",
            check.level.painted(),
            check.name,
            check.found
        );
        if let Some(fix) = &check.fix {
            let _ = writeln!(text, "{:22}→ {fix}", "");
        }
    }
    if let Some(between) = &report.between_hosts {
        text += &doctor_hosts::text(between);
    }
    let findings = report
        .checks
        .iter()
        .filter(|check| check.level != Level::Ok)
        .count();
    let _ = match findings {
        0 => writeln!(text, "\nThis machine is fit for Exo."),
        count => writeln!(text, "\n{}.", counted(count, "finding")),
    };
    text
}

fn monitor(socket: Option<&Path>) -> Check {
    const NAME: &str = "monitor";
    match status::ask(socket) {
        Ok(answer) => {
            let monitor = &answer.status.monitor;
            let (pid, path) = (monitor.pid, answer.socket.display());
            if monitor.version == env!("CARGO_PKG_VERSION") {
                return Check::ok(
                    NAME,
                    format!("{} runs at {path} (pid {pid})", monitor.version),
                );
            }
            let own = env!("CARGO_PKG_VERSION");
            Check::warn(
                NAME,
                format!(
                    "version {} runs at {path} (pid {pid}), exo is {own}",
                    monitor.version
                ),
                "restart the monitor after an upgrade",
            )
        }
        Err(stop) if stop.code == NO_MONITOR && socket.is_none() => Check::ok(
            NAME,
            "none runs; `exo run -g ADDR:PORT -- PROGRAM` starts a private one",
        ),
        Err(stop) => Check::fail(NAME, stop.what, stop.hint),
    }
}

fn shim() -> Check {
    const NAME: &str = "shim";
    let path = match place::shim() {
        Ok(path) => path,
        Err(stop) => return Check::fail(NAME, stop.what, stop.hint),
    };
    let shown = path.display();
    let obstacles = Program::inspect(&path).obstacles;
    // A library has no loader of its own.
    if let Some(obstacle) = obstacles
        .iter()
        .find(|obstacle| **obstacle != Obstacle::Static)
    {
        return Check::fail(
            NAME,
            format!("{shown}: {obstacle}"),
            "install the shim again",
        );
    }
    match missing_exports(&path) {
        Ok(missing) if missing.is_empty() => Check::ok(NAME, shown.to_string()),
        Ok(missing) => Check::fail(
            NAME,
            format!("{shown} does not define {}", missing.join(", ")),
            "install the shim again",
        ),
        Err(error) => Check::fail(NAME, format!("{shown}: {error}"), "install the shim again"),
    }
}

/// Those of [`SHIM_EXPORTS`] that the library does not define.
fn missing_exports(path: &Path) -> anyhow::Result<Vec<&'static str>> {
    let contents = ReadCache::new(fs::File::open(path)?);
    let header = elf::FileHeader64::<LittleEndian>::parse(&contents)?;
    let sections: SectionTable<'_, _, _> = header.sections(LittleEndian, &contents)?;
    let symbols = sections.symbols(LittleEndian, &contents, elf::SHT_DYNSYM)?;
    let mut missing = SHIM_EXPORTS.to_vec();
    for symbol in symbols.iter() {
        use object::read::elf::Sym;
        let name = symbol.name(LittleEndian, symbols.strings())?;
        if symbol.st_shndx(LittleEndian) != elf::SHN_UNDEF {
            missing.retain(|wanted| wanted.as_bytes() != name);
        }
    }
    Ok(missing)
}

fn daemon() -> Check {
    const NAME: &str = "daemon";
    match place::daemon() {
        Ok(path) if rustix::fs::access(&path, Access::EXEC_OK).is_ok() => {
            Check::ok(NAME, path.display().to_string())
        }
        Ok(path) => {
            let fix = format!("chmod +x {}", path.display());
            Check::fail(NAME, format!("{} is not executable", path.display()), fix)
        }
        Err(stop) => Check::fail(NAME, stop.what, stop.hint),
    }
}

fn private_folder() -> Check {
    const NAME: &str = "private folder";
    let socket = place::private_socket();
    match place::folder_of(&socket) {
        Ok(folder) if !folder.exists() => Check::ok(
            NAME,
            format!("{} will be made when needed", folder.display()),
        ),
        Ok(folder) => match place::check_folder(folder) {
            Ok(()) => Check::ok(NAME, folder.display().to_string()),
            Err(stop) => Check::fail(NAME, stop.what, stop.hint),
        },
        Err(stop) => Check::fail(NAME, stop.what, stop.hint),
    }
}

fn configuration() -> Check {
    const NAME: &str = "configuration";
    match config::load(Some(Path::new(CONFIG_FILE)), false, &Arguments::default()) {
        Ok(loaded) if loaded.files.is_empty() => Check::ok(NAME, "no file, all defaults"),
        Ok(loaded) => {
            let groups = counted(loaded.config.groups.len(), "group");
            Check::ok(NAME, format!("{CONFIG_FILE}: {groups}"))
        }
        Err(errors) => Check::fail(
            NAME,
            format!(
                "{}, the first at {}",
                counted(errors.all().len(), "mistake"),
                errors.all()[0].place
            ),
            "see `exo config check`",
        ),
    }
}

fn kernel() -> Check {
    const NAME: &str = "kernel";
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy();
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= (5, 10) {
        Check::ok(NAME, format!("Linux {release}"))
    } else {
        let fix = "use Linux 5.10 or later; older ones were never tried";
        Check::warn(NAME, format!("Linux {release}"), fix)
    }
}

/// The log of a group must be readable by its members and writable by nobody but the monitor.
fn sealing() -> Check {
    const NAME: &str = "sealed memory";
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE | SealFlags::SEAL;
    let tried = rustix::fs::memfd_create(
        "exo-doctor",
        MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING,
    )
    .and_then(|file| {
        rustix::fs::ftruncate(&file, 4096)?;
        rustix::fs::fcntl_add_seals(&file, seals)?;
        Ok(rustix::io::write(&file, b"x"))
    });
    match tried {
        Ok(Err(_)) => Check::ok(NAME, "memfd keeps its seals, F_SEAL_FUTURE_WRITE included"),
        Ok(Ok(_)) => Check::fail(
            NAME,
            "memfd can be written in spite of F_SEAL_FUTURE_WRITE",
            "use a kernel that keeps seals; do not run Exo on this one",
        ),
        Err(errno) => Check::fail(
            NAME,
            format!("memfd with F_SEAL_FUTURE_WRITE: {errno}"),
            "use Linux 5.1 or later; in a container, allow memfd_create",
        ),
    }
}

/// The monitor learns from it that a member died.
fn pidfd() -> Check {
    const NAME: &str = "pidfd";
    match rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty()) {
        Ok(_) => Check::ok(NAME, "pidfd_open works"),
        Err(errno) => Check::fail(
            NAME,
            format!("pidfd_open: {errno}"),
            "use Linux 5.3 or later; in a container, allow pidfd_open",
        ),
    }
}

/// A taken socket's doorbell is a pair of UDP sockets on 127.x.
fn loopback() -> Check {
    const NAME: &str = "loopback";
    const FIX: &str = "ip link set lo up";
    let rung = || -> std::io::Result<bool> {
        let bell = UdpSocket::bind("127.201.7.1:0")?;
        let ringer = UdpSocket::bind("127.201.7.2:0")?;
        bell.set_read_timeout(Some(std::time::Duration::from_secs(1)))?;
        ringer.send_to(b"x", bell.local_addr()?)?;
        Ok(bell.recv(&mut [0; 8])? == 1)
    };
    match rung() {
        Ok(true) => Check::ok(NAME, "127.x can be bound and reached"),
        Ok(false) => Check::fail(NAME, "127.x delivers something else", FIX),
        Err(error) => Check::fail(NAME, format!("127.x: {error}"), FIX),
    }
}

/// For information: what the kernel's own multicast would use. Exo needs none of it on one host.
fn multicast() -> Check {
    const NAME: &str = "multicast";
    const MULTICAST: u32 = 0x1000;
    const UP: u32 = 0x1;
    let devices = fs::read_to_string("/proc/self/net/dev").unwrap_or_default();
    let names = devices
        .lines()
        .filter_map(|line| Some(line.split_once(':')?.0.trim()));
    let capable: Vec<_> = names
        .filter(|name| {
            let flags = fs::read_to_string(format!("/sys/class/net/{name}/flags"));
            let flags = flags.unwrap_or_default();
            let digits = flags.trim().trim_start_matches("0x");
            u32::from_str_radix(digits, 16).unwrap_or(0) & (MULTICAST | UP) == MULTICAST | UP
        })
        .collect();
    let routes = fs::read_to_string("/proc/self/net/route").unwrap_or_default();
    let has_route = routes.lines().skip(1).any(|line| {
        let destination = line.split_ascii_whitespace().nth(1);
        destination == Some("00000000") || destination == Some("000000E0")
    });
    let interfaces = if capable.is_empty() {
        "no interface is up with multicast".to_owned()
    } else {
        format!("{} up with multicast", capable.join(", "))
    };
    let route = if has_route { "a route" } else { "no route" };
    Check::ok(
        NAME,
        format!("{interfaces}; {route} for 224.0.0.0/4 (one host needs neither)"),
    )
}

fn descriptors() -> Check {
    const NAME: &str = "descriptors";
    let limit = rustix::process::getrlimit(Resource::Nofile);
    match limit.current {
        Some(count) if count < NOFILE_MIN => Check::warn(
            NAME,
            format!("only {count} open files are allowed"),
            format!("ulimit -n {NOFILE_MIN}"),
        ),
        Some(count) => Check::ok(NAME, format!("{count} open files are allowed")),
        None => Check::ok(NAME, "any number of open files is allowed"),
    }
}

fn proc_readable() -> Check {
    const NAME: &str = "/proc";
    if fs::read("/proc/self/maps").is_err() {
        let fix = "mount -t proc proc /proc";
        return Check::fail(NAME, "cannot be read", fix);
    }
    if fs::read("/proc/1/comm").is_err() {
        return Check::warn(
            NAME,
            "shows only your own processes",
            "for `exo why` about others' processes ask as root, or mount /proc without hidepid",
        );
    }
    Check::ok(NAME, "can be read")
}

/// What already stands in front of programs.
fn preloading() -> Check {
    const NAME: &str = "preloads";
    let everywhere = fs::read_to_string("/etc/ld.so.preload").unwrap_or_default();
    let everywhere = everywhere
        .split_ascii_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    let inherited = std::env::var("LD_PRELOAD").unwrap_or_default();
    if inherited.contains("libexo_shim.so") {
        return Check::warn(
            NAME,
            "this shell itself runs under the shim",
            "leave it, or unset LD_PRELOAD, and use `exo run` for single programs",
        );
    }
    match (everywhere.as_str(), inherited.as_str()) {
        ("", "") => Check::ok(NAME, "none"),
        (all, own) => Check::ok(
            NAME,
            format!(
                "{} (the shim comes before them)",
                [all, own].join(" ").trim()
            ),
        ),
    }
}

/// For information: what other tools of this kind need and this one does not.
fn rights() -> Check {
    const NAME: &str = "rights";
    let ptrace = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    let ptrace = match ptrace.trim() {
        "" => String::new(),
        scope => format!("; yama's ptrace_scope is {scope}, which is as good as any"),
    };
    Check::ok(
        NAME,
        format!("no capability, seccomp rule or ptrace is needed{ptrace}"),
    )
}
