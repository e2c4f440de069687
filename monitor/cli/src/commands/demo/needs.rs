//! What the demonstration needs: installed when we may, named with the command when not.

use std::process::{Command, Stdio};

use anyhow::bail;
use nix::unistd::Uid;

use super::report::progress;

/// A program and the Debian packages that bring it.
const NEEDED: [(&str, &[&str]); 3] = [
    ("python3", &["python3"]),
    ("socat", &["socat"]),
    ("cc", &["gcc", "libc6-dev"]),
];

/// Makes sure that everything is there.
///
/// # Errors
///
/// Names what is missing and the command that installs it.
pub(super) fn check() -> anyhow::Result<()> {
    let missing: Vec<_> = NEEDED
        .iter()
        .filter(|(program, _)| !is_there(program))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let programs: Vec<&str> = missing.iter().map(|(program, _)| *program).collect();
    let packages: Vec<&str> = missing
        .iter()
        .flat_map(|(_, packages)| packages.iter().copied())
        .collect();
    let (programs, command) = (
        programs.join(", "),
        format!("apt-get install -y {}", packages.join(" ")),
    );
    if Uid::effective().is_root() && is_there("apt-get") {
        progress(&format!("{programs} missing: {command}"));
        let is_done =
            apt_get(&["update"]) && apt_get(&[&["install", "-y"], packages.as_slice()].concat());
        if is_done && missing.iter().all(|(program, _)| is_there(program)) {
            return Ok(());
        }
        bail!(
            "{programs} missing and `{command}` failed; install them another way and run exo demo again"
        );
    }
    bail!(
        "{programs} missing: the demonstration runs them as members; install them as root ({command})"
    );
}

fn apt_get(arguments: &[&str]) -> bool {
    Command::new("apt-get")
        .arg("-qq")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Whether a file of that name is in `PATH`.
pub(super) fn is_there(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
    })
}
