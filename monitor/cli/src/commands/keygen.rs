//! `exo keygen`: the key that the hosts of a ring share, in a file that only its owner can read.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use exo_monitor::key_file::{self, Key};
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
    /// Make none: check this file and print its key's fingerprint.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["out", "force"])]
    fingerprint: Option<PathBuf>,
}

#[derive(Serialize)]
struct Made<'a> {
    schema: &'static str,
    fingerprint: String,
    file: Option<&'a Path>,
    /// Only where it was asked to be printed.
    key: Option<String>,
}

/// Makes a key, and writes or prints it; or looks at one that is there.
pub(crate) fn run(args: &KeygenArgs, out: &Output) -> anyhow::Result<ExitCode> {
    if let Some(file) = args.fingerprint.as_deref() {
        let key = key_file::read(file)?;
        return told(&key, Some(file), out);
    }
    let key = key_file::fresh().context("the kernel gives no random bytes")?;
    let file = args.out.as_deref();
    if let Some(file) = file {
        write(file, &key, args.force)?;
    }
    told(&key, file, out)
}

fn told(key: &Key, file: Option<&Path>, out: &Output) -> anyhow::Result<ExitCode> {
    let made = Made {
        schema: "exo.keygen/1",
        fingerprint: key.fingerprint().to_string(),
        file,
        key: file.is_none().then(|| key.reveal()),
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

fn write(file: &Path, key: &Key, replace: bool) -> anyhow::Result<()> {
    let shown = file.display();
    key_file::write(file, key, replace).map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::AlreadyExists if !replace => {
                "hosts that have that key would not be heard any more; --force replaces it"
            }
            _ => "name a file in a folder that you can write",
        };
        Stop::new(FAILED, format!("cannot write {shown}: {error}"), hint).into()
    })
}

fn text(made: &Made<'_>) -> String {
    match (&made.key, made.file) {
        (Some(key), _) => format!("{key}\n"),
        (None, Some(file)) => format!(
            "key          {}\nfingerprint  {} (may be read out to compare hosts)\n",
            file.display(),
            made.fingerprint
        ),
        (None, None) => String::new(),
    }
}
