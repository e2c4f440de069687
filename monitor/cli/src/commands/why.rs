//! `exo why`: is my socket taken, and if not, why?
//!
//! Of a process: what `/proc` and the monitor say about it, socket by socket. Of a program: what
//! its file says; it is not run.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;

use crate::errors::{FAILED, FINDINGS, Stop};
use crate::output::{Output, plain};
use crate::process::{Process, UdpSocket};
use crate::program::{FindError, Obstacle, Program};
use crate::status::{self, Answer, Group, Ring, Session, Socket};

/// Arguments of `exo why`.
#[derive(clap::Args, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct WhyArgs {
    /// A running process.
    #[arg(value_name = "PID")]
    pid: Option<u32>,
    /// A program, with or without its arguments.
    #[arg(last = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
}

/// Answers for the process or the program.
pub(crate) fn run(args: &WhyArgs, socket: Option<&Path>, out: &Output) -> anyhow::Result<ExitCode> {
    match (args.pid, args.program.first()) {
        (Some(pid), _) => why_process(pid, socket, out),
        (None, Some(name)) => match Program::find(name) {
            Ok(program) => why_program(&program, out),
            Err(FindError::NotFound(what)) => {
                Err(Stop::new(FAILED, what, "check the spelling and PATH").into())
            }
            Err(FindError::NotExecutable(what)) => {
                Err(Stop::new(FAILED, what, "give the path of a program").into())
            }
        },
        (None, None) => anyhow::bail!("give a PID, or a program after --"),
    }
}

/// One thing in the way and the way around it.
#[derive(Clone, Debug, Serialize)]
struct Reason {
    what: String,
    hint: String,
}

impl Reason {
    fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            hint: hint.into(),
        }
    }

    fn of(obstacle: &Obstacle) -> Self {
        Self::new(obstacle.to_string(), obstacle.hint())
    }
}

#[derive(Serialize)]
struct WhyProgram<'a> {
    schema: &'static str,
    can_be_served: bool,
    program: &'a Program,
    reasons: Vec<Reason>,
}

fn why_program(program: &Program, out: &Output) -> anyhow::Result<ExitCode> {
    let reasons: Vec<_> = program.obstacles.iter().map(Reason::of).collect();
    let can_be_served = reasons.is_empty();
    let report = WhyProgram {
        schema: "exo.why-program/1",
        can_be_served,
        program,
        reasons,
    };
    out.report(&report, || {
        let mut text = program.path.display().to_string();
        if program.executable != program.path {
            // Writing to a String cannot fail.
            let _ = write!(text, " (run by {})", program.executable.display());
        }
        text.push_str(if can_be_served {
            ": can be served\n"
        } else {
            ": cannot be served\n"
        });
        text.push_str(&list(&report.reasons));
        if can_be_served {
            text.push_str("  try: exo run -g ADDR:PORT -- ");
            text.push_str(&program.path.display().to_string());
            text.push('\n');
        }
        text
    })?;
    Ok(verdict(can_be_served))
}

fn verdict(is_good: bool) -> ExitCode {
    if is_good {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FINDINGS)
    }
}

fn list(reasons: &[Reason]) -> String {
    let mut text = String::new();
    for reason in reasons {
        // Writing to a String cannot fail.
        let _ = write!(text, "  {}\n    → {}\n", reason.what, reason.hint);
    }
    text
}

#[derive(Serialize)]
struct WhyProcess {
    schema: &'static str,
    pid: u32,
    comm: String,
    exe: PathBuf,
    /// Whether Exo has at least one of its sockets.
    served: bool,
    shim_loaded: bool,
    socket: Option<PathBuf>,
    attached: bool,
    sockets: Vec<SocketAnswer>,
    /// What stands in the way.
    reasons: Vec<Reason>,
}

#[derive(Serialize)]
struct SocketAnswer {
    fds: Vec<u32>,
    inode: u64,
    bound: String,
    taken: bool,
    delivery: Option<String>,
    /// The program sees who sent.
    names_sources: bool,
    /// Which rule decided.
    rule: String,
}

fn why_process(pid: u32, socket: Option<&Path>, out: &Output) -> anyhow::Result<ExitCode> {
    let process = Process::look(pid)?;
    let answer = status::ask(socket.or(process.socket.as_deref()));
    let mut reasons: Vec<_> = process.program.obstacles.iter().map(Reason::of).collect();
    if !process.has_shim && reasons.is_empty() {
        reasons.push(Reason::new(
            "the shim is not loaded into it",
            "start it with `exo run -g ADDR:PORT -- PROGRAM`; a program cannot be taken later",
        ));
    }
    let session = answer.as_ref().ok().and_then(|answer| {
        answer
            .status
            .sessions
            .iter()
            .find(|session| session.pid == pid)
    });
    if process.has_shim {
        match (&answer, session) {
            (Err(stop), _) => reasons.push(Reason::new(stop.what.clone(), stop.hint.clone())),
            (Ok(answer), None) => reasons.push(Reason::new(
                format!(
                    "it never attached to the monitor at {}",
                    answer.socket.display()
                ),
                "a program attaches when one of its sockets is marked: compare the addresses \
                 below with `exo groups`",
            )),
            (Ok(answer), Some(session)) => {
                reasons.extend(refusals(session));
                let ring = answer.status.ring.as_ref();
                reasons.extend(ring.and_then(|ring| deaf_ears(ring, session)));
            }
        }
    }
    let sockets = sockets(&process, answer.as_ref().ok(), session);
    for socket in &sockets {
        if let (true, Some("kernel")) = (socket.taken, socket.delivery.as_deref()) {
            reasons.push(Reason::new(
                format!(
                    "socket {} is served through the kernel: {}",
                    fds(&socket.fds),
                    socket.rule
                ),
                if socket.names_sources {
                    "order and completeness are kept, only speed is lost; nothing needs to be done"
                } else {
                    "order and completeness are kept, but the program sees an address of Exo's as \
                     the source: `docs/shim.md` says what it needs to see the sender's"
                },
            ));
        }
    }
    let report = WhyProcess {
        schema: "exo.why-process/1",
        pid,
        served: sockets.iter().any(|socket| socket.taken),
        shim_loaded: process.has_shim,
        attached: session.is_some(),
        comm: process.comm,
        exe: process.exe,
        socket: process.socket,
        sockets,
        reasons,
    };
    out.report(&report, || text(&report))?;
    Ok(verdict(report.served && report.reasons.is_empty()))
}

fn refusals(session: &Session) -> impl Iterator<Item = Reason> {
    session.refusals.iter().map(|refusal| {
        Reason::new(
            format!(
                "{} of group {} was refused: {}",
                refusal.asked, refusal.group, refusal.why
            ),
            "change may_join or may_send of the group in exo.toml and reload the monitor",
        )
    })
}

/// It sends at a host that only listens.
fn deaf_ears(ring: &Ring, session: &Session) -> Option<Reason> {
    let grant = session.grants.first().filter(|_| ring.listens)?;
    Some(Reason::new(
        format!(
            "its sends to group {} fail with ENETUNREACH: host {} only listens",
            grant.group, ring.host
        ),
        "run programs that send on a host that votes, or take listens = true away from this \
         [[host]] on all hosts",
    ))
}

/// The process's sockets, first those that Exo has.
fn sockets(
    process: &Process,
    answer: Option<&Answer>,
    session: Option<&Session>,
) -> Vec<SocketAnswer> {
    let taken = session.map_or(&[][..], |session| &session.sockets);
    let reach = match (process.has_shim, session) {
        (false, _) => Reach::NoShim,
        (true, None) => Reach::NotAttached,
        (true, Some(_)) => Reach::Attached,
    };
    let groups = answer.map_or(&[][..], |answer| &answer.status.groups);
    let mut answers: Vec<_> = taken
        .iter()
        .map(|socket| taken_answer(socket, process))
        .collect();
    for socket in &process.udp_sockets {
        if !taken.iter().any(|known| known.inode == socket.inode) {
            answers.push(SocketAnswer {
                fds: socket.fds.clone(),
                inode: socket.inode,
                bound: socket.local.to_string(),
                taken: false,
                delivery: None,
                names_sources: true,
                rule: rule_of_untaken(socket, groups, reach),
            });
        }
    }
    answers
}

fn taken_answer(socket: &Socket, process: &Process) -> SocketAnswer {
    let seen = process
        .udp_sockets
        .iter()
        .find(|seen| seen.inode == socket.inode);
    let rule = match &socket.demoted_because {
        Some(why) => format!("{}, demoted because of {why}", socket.rule),
        None => socket.rule.clone(),
    };
    SocketAnswer {
        fds: seen.map(|seen| seen.fds.clone()).unwrap_or_default(),
        inode: socket.inode,
        bound: socket.bound.clone().unwrap_or_else(|| "nothing".to_owned()),
        taken: true,
        delivery: Some(socket.delivery.clone()),
        names_sources: socket.names_sources,
        rule,
    }
}

/// How far Exo is into a process.
#[derive(Clone, Copy, Debug)]
enum Reach {
    NoShim,
    NotAttached,
    Attached,
}

impl Reach {
    /// Why a socket that fits a group is nevertheless the kernel's.
    fn why_not(self) -> &'static str {
        match self {
            Self::NoShim => "the shim is not loaded",
            Self::NotAttached => "its process never attached to the monitor",
            Self::Attached => "it neither joined it nor sent to it since the group was marked",
        }
    }
}

/// Which rule left a socket to the kernel.
fn rule_of_untaken(socket: &UdpSocket, groups: &[Group], reach: Reach) -> String {
    let address_of = |group: &Group| group.address.parse::<SocketAddr>().ok();
    let port = socket.local.port();
    let mut same_port = groups
        .iter()
        .filter_map(|group| Some((group, address_of(group)?)))
        .filter(|(_, address)| address.port() == port);
    let ip = socket.local.ip();
    let reached = same_port
        .clone()
        .find(|(_, address)| ip.is_unspecified() || address.ip() == ip);
    match (reached, same_port.next()) {
        (Some((group, _)), _) => format!("it fits group {}, but {}", group.name, reach.why_not()),
        (None, Some((group, address))) => {
            format!(
                "bound to {ip}, while group {} is {}",
                group.name,
                address.ip()
            )
        }
        (None, None) => format!("no group has port {port}"),
    }
}

fn fds(fds: &[u32]) -> String {
    if fds.is_empty() {
        return "-".to_owned();
    }
    fds.iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(",")
}

fn text(report: &WhyProcess) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write_text(report, &mut text);
    text
}

fn write_text(report: &WhyProcess, text: &mut String) -> std::fmt::Result {
    let taken = report.sockets.iter().filter(|socket| socket.taken).count();
    let verdict = match (report.served, report.reasons.is_empty()) {
        (true, _) => format!(
            "Exo has {taken} of its {} UDP sockets",
            report.sockets.len()
        ),
        (false, _) => "Exo has none of its sockets".to_owned(),
    };
    writeln!(
        text,
        "{} ({}, {}): {verdict}",
        report.pid,
        plain(&report.comm),
        plain(&report.exe.display().to_string())
    )?;
    text.push_str(&list(&report.reasons));
    for socket in &report.sockets {
        let fds = fds(&socket.fds);
        let delivery = match &socket.delivery {
            Some(delivery) => format!("taken ({delivery})"),
            None => "not taken".to_owned(),
        };
        writeln!(
            text,
            "  fd {fds:<4} {:<22} {delivery}: {}",
            socket.bound, socket.rule
        )?;
    }
    if report.sockets.is_empty() {
        writeln!(text, "  it has no UDP socket with an address")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(local: &str, reach: Reach) -> String {
        let group = Group {
            name: "orders".into(),
            address: "239.1.2.3:5000".into(),
            ..Group::default()
        };
        let socket = UdpSocket {
            fds: vec![3],
            inode: 1,
            local: local.parse().unwrap(),
        };
        rule_of_untaken(&socket, &[group], reach)
    }

    #[test]
    fn untaken_socket_is_told_which_rule_decided() {
        assert_eq!(
            rule("0.0.0.0:4000", Reach::Attached),
            "no group has port 4000"
        );
        assert_eq!(
            rule("10.0.0.1:5000", Reach::Attached),
            "bound to 10.0.0.1, while group orders is 239.1.2.3"
        );
        assert!(rule("0.0.0.0:5000", Reach::NoShim).contains("shim is not loaded"));
        assert!(rule("0.0.0.0:5000", Reach::NotAttached).contains("never attached"));
        assert!(rule("239.1.2.3:5000", Reach::Attached).contains("neither joined"));
    }

    #[test]
    fn taken_sockets_come_with_their_rule_and_the_refusals_with_their_reason() {
        let answer = status::sample();
        let process = Process {
            comm: "python3".into(),
            exe: "/usr/bin/python3".into(),
            program: Program::inspect(Path::new("/bin/sh")),
            has_shim: true,
            socket: None,
            udp_sockets: vec![
                UdpSocket {
                    fds: vec![3, 7],
                    inode: 123_456,
                    local: "127.9.9.9:40000".parse().unwrap(),
                },
                UdpSocket {
                    fds: vec![4],
                    inode: 1,
                    local: "0.0.0.0:53".parse().unwrap(),
                },
            ],
        };
        let found = sockets(&process, Some(&answer), Some(&answer.status.sessions[0]));
        assert_eq!(found.len(), 2);
        assert!(found[0].taken && !found[1].taken);
        assert_eq!(
            (found[0].bound.as_str(), &found[0].fds[..]),
            ("0.0.0.0:5000", &[3, 7][..])
        );
        assert_eq!(
            found[0].rule,
            "join of 239.1.2.3:5000, demoted because of fdopen"
        );
        assert_eq!(found[1].rule, "no group has port 53");

        let refused: Vec<_> = refusals(&answer.status.sessions[1]).collect();
        assert!(
            refused[0].what.contains("uid 1001 is not listed"),
            "{refused:?}"
        );
    }
}
