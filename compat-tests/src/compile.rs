//! Turns `programs/NAME.c` into an executable, once per content.

use crate::binaries::workspace;
use anyhow::{Context, Result, bail};
use std::collections::hash_map::DefaultHasher;
use std::env;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

const FLAGS: [&str; 5] = ["-O1", "-g", "-w", "-pthread", "-o"];

/// Folder of the programs' sources.
pub fn programs() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/programs"))
}

/// The executable of `programs/NAME.c`.
///
/// Kept in the target folder under a name made from the sources, so that tests in several
/// processes may ask for it at the same time.
///
/// # Errors
///
/// The compiler's own words.
pub fn c_program(name: &str) -> Result<PathBuf> {
    let source = programs().join(format!("{name}.c"));
    let headers = ["steps.h", "sweep.h"].map(|header| programs().join(header));
    let mut hasher = DefaultHasher::new();
    for file in headers.iter().chain([&source]) {
        fs::read(file)
            .with_context(|| format!("reading {}", file.display()))?
            .hash(&mut hasher);
    }
    FLAGS.hash(&mut hasher);
    let target = env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace().join("target"), PathBuf::from)
        .join("compat-programs");
    fs::create_dir_all(&target)?;
    let executable = target.join(format!("{name}-{:016x}", hasher.finish()));
    if executable.is_file() {
        return Ok(executable);
    }
    // Others may do the same at this moment: compile aside, then rename, which is atomic.
    let folder = tempfile::tempdir_in(&target)?;
    let aside = folder.path().join(name);
    let output = Command::new("cc")
        .args(FLAGS)
        .arg(&aside)
        .arg(&source)
        .output()
        .context("cannot run cc: install gcc (compat-tests/setup.sh does)")?;
    if !output.status.success() {
        bail!(
            "cc {}:\n{}",
            source.display(),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    fs::rename(&aside, &executable)?;
    Ok(executable)
}

/// Path of a Python program.
pub fn python_program(name: &str) -> PathBuf {
    programs().join(format!("{name}.py"))
}

/// The interpreter behind `python3`, without launchers and links in between.
///
/// # Errors
///
/// When there is no `python3`.
pub fn python() -> Result<PathBuf> {
    let output = Command::new("python3")
        .args([
            "-c",
            "import os, sys; print(os.path.realpath(sys.executable))",
        ])
        .output()
        .context("cannot run python3: install it (compat-tests/setup.sh does)")?;
    if !output.status.success() {
        bail!(
            "python3 does not start: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
}
