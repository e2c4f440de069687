//! `exo preloaded`: whether the loader has loaded a library into this very process.
//!
//! A loader that cannot load a preload says so on stderr and starts the program without it. `exo run
//! --require` therefore tries it on a program that tells: this one.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use crate::errors::{FAILED, FINDINGS, Stop};
use crate::process::contains;

/// Arguments of `exo preloaded`.
#[derive(clap::Args, Debug)]
pub(crate) struct PreloadedArgs {
    /// The library, by the path that the loader was given.
    library: PathBuf,
}

/// Exit code 0 if the library is there.
pub(crate) fn run(args: &PreloadedArgs) -> anyhow::Result<ExitCode> {
    let maps = fs::read("/proc/self/maps")?;
    Ok(if contains(&maps, args.library.as_os_str().as_bytes()) {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FINDINGS)
    })
}

/// Refuses a shim that the loader does not load.
///
/// # Errors
///
/// With what the loader said.
pub(crate) fn check(shim: &Path) -> Result<(), Stop> {
    let hint = "install Exo anew, built for this machine and its glibc, or set EXO_SHIM";
    let failed = |what: String| Stop::new(FAILED, what, hint);
    let own = std::env::current_exe()
        .map_err(|error| failed(format!("cannot tell where exo itself is: {error}")))?;
    let tried = Command::new(own)
        .arg("preloaded")
        .arg(shim)
        .env("LD_PRELOAD", shim)
        .env_remove("EXO_SOCKET")
        .env_remove("EXO_REQUIRE")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(format!("cannot try {}: {error}", shim.display())))?;
    if tried.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&tried.stderr);
    let said = said
        .lines()
        .next()
        .map_or_else(String::new, |line| format!(": {line}"));
    Err(failed(format!(
        "{} cannot be loaded into programs{said}",
        shim.display()
    )))
}
