//! Where Exo's binaries are.
//!
//! `EXO_BIN_DIR` names their folder; without it the release build is taken, then the debug build.

use anyhow::{Result, bail};
use std::env;
use std::path::{Path, PathBuf};

/// The three files that make an installation.
#[derive(Clone, Debug)]
pub struct Binaries {
    /// The operator's command.
    pub exo: PathBuf,
    /// The monitor.
    pub exod: PathBuf,
    /// The library to preload.
    pub shim: PathBuf,
}

impl Binaries {
    /// Finds a folder that holds all three.
    ///
    /// # Errors
    ///
    /// A sentence that names the folders looked at and the command that builds what is missing.
    pub fn find() -> Result<Self> {
        let folders = folders();
        for folder in folders
            .iter()
            .filter_map(|folder| folder.canonicalize().ok())
        {
            let found = Self {
                exo: folder.join("exo"),
                exod: folder.join("exod"),
                shim: folder.join("libexo_shim.so"),
            };
            if found.exo.is_file() && found.exod.is_file() && found.shim.is_file() {
                return Ok(found);
            }
        }
        bail!(
            "exo, exod and libexo_shim.so are not together in any of {folders:?}: build them with \
             `make build`, or name their folder in EXO_BIN_DIR"
        )
    }
}

/// True when only the native side of each test is asked for: `EXO_NATIVE_ONLY=1`.
///
/// It proves that the tests and their programs work on a machine, and nothing about Exo.
pub fn is_native_only() -> bool {
    env::var_os("EXO_NATIVE_ONLY").is_some_and(|value| value == "1")
}

/// True when the long variants are asked for: `EXO_SOAK=1`.
pub fn is_soak() -> bool {
    env::var_os("EXO_SOAK").is_some_and(|value| value == "1")
}

/// Folder of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn folders() -> Vec<PathBuf> {
    if let Some(folder) = env::var_os("EXO_BIN_DIR") {
        return vec![PathBuf::from(folder)];
    }
    let mut targets = Vec::new();
    if let Some(target) = env::var_os("CARGO_TARGET_DIR") {
        targets.push(PathBuf::from(target));
    }
    targets.push(workspace().join("target"));
    ["release", "debug"]
        .iter()
        .flat_map(|profile| targets.iter().map(move |target| target.join(profile)))
        .collect()
}
