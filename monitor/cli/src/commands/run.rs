//! `exo run`: becomes the program, with the shim in front of it and a monitor behind it.
//!
//! The program keeps this process's number, terminal, descriptors and exit status. Whatever goes
//! wrong before it starts ends with 125 (Exo), 126 (the program cannot be served) or 127 (there is
//! no such program), which programs leave alone.

use std::env;
use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::anyhow;

use super::preloaded;
use crate::args::group_address;
use crate::errors::{NO_MONITOR, RUN_FAILED, RUN_NOT_FOUND, RUN_REFUSED, Stop};
use crate::output::Output;
use crate::place::{self, Place};
use crate::program::{FindError, Program};
use crate::{private_monitor, status};

/// Arguments of `exo run`.
#[derive(clap::Args, Debug)]
pub(crate) struct RunArgs {
    /// A group to order; a private monitor is started when none runs. Can be given several times.
    #[arg(short, long = "group", value_name = "ADDR:PORT", value_parser = group_address)]
    group: Vec<SocketAddr>,
    /// Refuse to run the program in any other way than under Exo.
    #[arg(long)]
    require: bool,
    /// The program and its arguments.
    #[arg(required = true, trailing_var_arg = true, value_name = "PROGRAM")]
    command: Vec<OsString>,
}

/// Returns only if the program could not be started.
pub(crate) fn run(args: &RunArgs, socket: Option<&Path>, out: &Output) -> anyhow::Result<ExitCode> {
    let (name, arguments) = args
        .command
        .split_first()
        .ok_or_else(|| anyhow!("no program"))?;
    let program = Program::find(name).map_err(|error| refuse_unfound(name, error))?;
    let mut command = Command::new(&program.path);
    command.arg0(name).args(arguments);
    if program.obstacles.is_empty() {
        let shim = place::shim().map_err(Stop::of_run)?;
        if args.require {
            preloaded::check(&shim).map_err(Stop::of_run)?;
        }
        let socket = monitor(args, socket).map_err(Stop::of_run)?;
        command.env(
            "LD_PRELOAD",
            preload(&shim, &program, env::var_os("LD_PRELOAD").as_deref()),
        );
        command.env("EXO_SOCKET", absolute(&socket)?);
        if args.require {
            command.env("EXO_REQUIRE", "1");
        }
    } else if args.require {
        return Err(refuse_unservable(&program).into());
    } else {
        let refusal = refuse_unservable(&program);
        out.note(&format!("{refusal}; running it without Exo"));
    }
    let error = command.exec();
    let what = format!("cannot execute {}: {error}", program.path.display());
    Err(Stop::new(
        RUN_REFUSED,
        what,
        "check that the file and its interpreter can be executed",
    )
    .into())
}

/// The socket of a monitor that runs and orders the groups.
fn monitor(args: &RunArgs, socket: Option<&Path>) -> Result<PathBuf, Stop> {
    if !args.group.is_empty() {
        let place = Place::for_groups(socket);
        if place.is_private {
            // Made and checked before anything that is there already is trusted.
            place::make_folder(place::folder_of(&place.socket)?)?;
        }
        private_monitor::ensure(&place.socket, &args.group)?;
        return Ok(place.socket);
    }
    match status::ask(socket) {
        Ok(answer) => Ok(answer.socket),
        Err(stop) if stop.code == NO_MONITOR => Err(Stop {
            hint: "name a group with -g, such as `exo run -g 239.1.2.3:5000 -- PROGRAM`, and a \
                   private monitor is started; or start the system's with `systemctl start exod`"
                .to_owned(),
            ..stop
        }),
        Err(stop) => Err(stop),
    }
}

/// `LD_PRELOAD` with the shim before everything but sanitizer runtimes.
fn preload(shim: &Path, program: &Program, inherited: Option<&OsStr>) -> OsString {
    use std::os::unix::ffi::OsStrExt;
    let is_separator = |byte: &u8| *byte == b':' || byte.is_ascii_whitespace();
    let inherited = inherited.unwrap_or_default().as_bytes().split(is_separator);
    let inherited: Vec<&OsStr> = inherited
        .filter(|item| !item.is_empty())
        .map(OsStr::from_bytes)
        .collect();
    let (runtimes, others): (Vec<_>, Vec<_>) =
        inherited.into_iter().partition(|item| is_sanitizer(item));
    let mut items: Vec<&OsStr> = runtimes;
    // A program that is linked with one finds it by name, as the loader would.
    items.extend(program.runtimes_first.iter().map(OsStr::new));
    items.push(shim.as_os_str());
    items.extend(others.into_iter().filter(|item| *item != shim.as_os_str()));
    items.join(OsStr::new(":"))
}

fn is_sanitizer(item: &OsStr) -> bool {
    let name = Path::new(item)
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    ["asan", "tsan", "ubsan", "lsan", "msan"]
        .iter()
        .any(|kind| {
            name.starts_with(&format!("lib{kind}."))
                || name.starts_with(&format!("libclang_rt.{kind}"))
        })
        || name.starts_with("libhwasan.")
}

/// The program may change its folder before it attaches.
fn absolute(socket: &Path) -> Result<PathBuf, Stop> {
    std::path::absolute(socket).map_err(|error| {
        let what = format!("cannot tell where {} is: {error}", socket.display());
        Stop::new(RUN_FAILED, what, "give an absolute path with --socket")
    })
}

fn refuse_unfound(name: &OsStr, error: FindError) -> Stop {
    match error {
        FindError::NotFound(what) => Stop::new(
            RUN_NOT_FOUND,
            what,
            format!("check the spelling of {} and PATH", name.display()),
        ),
        FindError::NotExecutable(what) => Stop::new(
            RUN_REFUSED,
            what,
            "give the path of a program that you may execute",
        ),
    }
}

fn refuse_unservable(program: &Program) -> Stop {
    let (what, hint) = program.refusal();
    Stop::new(RUN_REFUSED, what, hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(runtimes: &[&str]) -> Program {
        Program {
            path: "/bin/x".into(),
            executable: "/bin/x".into(),
            obstacles: Vec::new(),
            runtimes_first: runtimes.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    fn preloaded(runtimes: &[&str], inherited: &str) -> String {
        let shim = Path::new("/lib/libexo_shim.so");
        preload(shim, &program(runtimes), Some(OsStr::new(inherited)))
            .into_string()
            .unwrap()
    }

    #[test]
    fn shim_stands_before_other_preloads() {
        assert_eq!(preloaded(&[], ""), "/lib/libexo_shim.so");
        assert_eq!(
            preloaded(&[], "/a.so /b.so"),
            "/lib/libexo_shim.so:/a.so:/b.so"
        );
        assert_eq!(
            preloaded(&[], "/a.so:/lib/libexo_shim.so"),
            "/lib/libexo_shim.so:/a.so"
        );
    }

    #[test]
    fn sanitizer_runtimes_stand_before_the_shim() {
        assert_eq!(
            preloaded(&["libasan.so.8"], "/a.so:/usr/lib/libtsan.so.2"),
            "/usr/lib/libtsan.so.2:libasan.so.8:/lib/libexo_shim.so:/a.so"
        );
    }
}
