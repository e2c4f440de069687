//! `exo keygen`: the key that the hosts of a ring share, in a file that only its owner can read, and
//! the three steps in which it is changed while they work.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use exo_monitor::key_file::{self, Key, Keys, Role, StepError};
use serde::Serialize;

use crate::errors::{FAILED, Stop};
use crate::output::Output;

/// Arguments of `exo keygen`.
#[derive(clap::Args, Debug)]
pub(crate) struct KeygenArgs {
    /// Write the key to this file, with mode 0600 [default: print it].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace the file if it is there; hosts with the old key are not heard any more.
    #[arg(long, requires = "out")]
    force: bool,
    #[command(flatten)]
    file: FileArgs,
}

/// A file that is there, and what to do with it.
#[derive(clap::Args, Debug)]
#[group(multiple = false, conflicts_with_all = ["out", "force"])]
struct FileArgs {
    /// Make none: check this file and print its keys' fingerprints.
    #[arg(long, value_name = "FILE")]
    fingerprint: Option<PathBuf>,
    /// Change the key of a running ring, first step: add a new key, which is accepted from then on.
    #[arg(long, value_name = "FILE")]
    add: Option<PathBuf>,
    /// Second step, once all hosts accept the added key: frames are sealed with it from then on.
    #[arg(long, value_name = "FILE")]
    switch: Option<PathBuf>,
    /// Third step, once all hosts seal with the added key: the old one is not accepted any more.
    #[arg(long, value_name = "FILE")]
    drop: Option<PathBuf>,
}

#[derive(Serialize)]
struct Made<'a> {
    schema: &'static str,
    /// Of the key that seals.
    fingerprint: String,
    file: Option<&'a Path>,
    /// Only where it was asked to be printed.
    key: Option<String>,
    keys: Vec<Named>,
    /// What to do next, while a key is being changed.
    then: Option<String>,
}

#[derive(Serialize)]
struct Named {
    role: String,
    fingerprint: String,
}

/// Makes a key, and writes or prints it; or looks at a file that is there, or takes a step there.
pub(crate) fn run(args: &KeygenArgs, out: &Output) -> anyhow::Result<ExitCode> {
    let FileArgs {
        fingerprint,
        add,
        switch,
        drop,
    } = &args.file;
    if let Some(file) = fingerprint {
        return told(&key_file::read(file)?, Some(file), out);
    }
    if let Some(file) = add {
        let key = fresh()?;
        return step(file, |keys| keys.with_next(key), out);
    }
    if let Some(file) = switch {
        return step(file, Keys::switch, out);
    }
    if let Some(file) = drop {
        return step(file, Keys::drop_old, out);
    }
    let keys = Keys::from(fresh()?);
    let file = args.out.as_deref();
    if let Some(file) = file {
        write(file, &keys, args.force)?;
    }
    told(&keys, file, out)
}

fn fresh() -> anyhow::Result<Key> {
    key_file::fresh().context("the kernel gives no random bytes")
}

/// Changes a file's keys and says what comes next.
fn step(
    file: &Path,
    step: impl FnOnce(Keys) -> Result<Keys, StepError>,
    out: &Output,
) -> anyhow::Result<ExitCode> {
    let keys = key_file::read(file)?;
    let shown = file.display();
    let then =
        then(&keys, file).unwrap_or_else(|| format!("exo keygen --add {shown} begins a change"));
    let keys = step(keys)
        .map_err(|error| Stop::new(FAILED, format!("{shown} stays as it is: {error}"), &then))?;
    key_file::change(file, &keys).map_err(|error| {
        let hint = "be its owner or root, in a folder that you can write";
        Stop::new(FAILED, format!("cannot change {shown}: {error}"), hint)
    })?;
    told(&keys, Some(file), out)
}

/// The next thing to do with a file in the middle of a change.
fn then(keys: &Keys, file: &Path) -> Option<String> {
    let shown = file.display();
    keys.iter().find_map(|(role, key)| {
        let id = key.fingerprint().id();
        Some(match role {
            Role::Current => return None,
            Role::Next => format!(
                "give this file to all hosts and say `exo reload` at each; when `exo ring` at each \
                 says that it accepts {id}: exo keygen --switch {shown}"
            ),
            Role::Old => format!(
                "give this file to all hosts and say `exo reload` at each; when `exo ring` shows \
                 no host with key {id} any more: exo keygen --drop {shown}"
            ),
        })
    })
}

fn told(keys: &Keys, file: Option<&Path>, out: &Output) -> anyhow::Result<ExitCode> {
    let named = |(role, key): (Role, &Key)| Named {
        role: role.to_string(),
        fingerprint: key.fingerprint().to_string(),
    };
    let made = Made {
        schema: "exo.keygen/1",
        fingerprint: keys.current().fingerprint().to_string(),
        file,
        key: file.is_none().then(|| keys.current().reveal()),
        keys: keys.iter().map(named).collect(),
        then: file.and_then(|file| then(keys, file)),
    };
    out.report(&made, || text(&made))?;
    if file.is_none() && !out.is_json() {
        out.note(&format!(
            "fingerprint {} (keep the line above secret; --out FILE writes it where only you can read it)",
            made.fingerprint
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn write(file: &Path, keys: &Keys, replace: bool) -> anyhow::Result<()> {
    let shown = file.display();
    key_file::write(file, keys, replace).map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::AlreadyExists if !replace => {
                "hosts that have that key would not be heard any more; --add changes the key of a \
                 ring that runs, --force replaces it"
            }
            _ => "name a file in a folder that you can write",
        };
        Stop::new(FAILED, format!("cannot write {shown}: {error}"), hint).into()
    })
}

fn text(made: &Made<'_>) -> String {
    let file = match (&made.key, made.file) {
        (Some(key), _) => return format!("{key}\n"),
        (None, file) => file.unwrap_or_else(|| Path::new("")),
    };
    let mut text = format!(
        "key          {}\nfingerprint  {} (may be read out to compare hosts)\n",
        file.display(),
        made.fingerprint
    );
    // Writing to a String cannot fail.
    for key in made.keys.iter().skip(1) {
        let _ = writeln!(
            text,
            "{:<11}  {} (accepted, too)",
            key.role, key.fingerprint
        );
    }
    if let Some(then) = &made.then {
        let _ = writeln!(text, "then         {then}");
    } else if made.keys.len() == 1 {
        // Also what comes after the last step.
        let _ = writeln!(
            text,
            "then         give this file to all hosts; where exod runs, `exo reload`"
        );
    }
    text
}
