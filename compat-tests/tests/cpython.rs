//! The interpreter's own tests of everything that the shim intercepts, with nothing marked.
//!
//! Both sides run at the same time, each in a world of its own, and have to agree test by test. A
//! test that differs is run once more alone on both sides: some of these tests measure time, and
//! this is a busy machine. Only what differs again is reported.

use anyhow::{Context, Result, bail, ensure};
use compat_tests::binaries::is_native_only;
use compat_tests::compile::{python, python_program};
use compat_tests::deadline::Deadline;
use compat_tests::program::Program;
use compat_tests::world::{GROUPS, Under, World};
use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is intercepted there: sockets, readiness, processes, descriptors, signals.
const MODULES: [&str; 7] = [
    "test_socket",
    "test_select",
    "test_selectors",
    "test_epoll",
    "test_subprocess",
    "test_os",
    "test_signal",
];
/// Fails natively wherever the kernel has VSOCK and no hypervisor.
const IGNORED: &str = "*VSOCK*";
/// More differences than this are not flicker.
const RETRIED_MAX: usize = 30;

/// A Python that carries its test suite.
fn python_with_tests() -> Result<PathBuf> {
    let mut candidates = Vec::new();
    if let Some(home) = env::var_os("HOME") {
        for version in ["3.13", "3.12", "3.11"] {
            let versions = Path::new(&home).join(".pyenv/versions");
            let Ok(entries) = fs::read_dir(versions) else {
                continue;
            };
            candidates.extend(
                entries
                    .flatten()
                    .map(|entry| entry.path())
                    .filter_map(|folder| {
                        let name = folder.file_name()?.to_str()?.to_owned();
                        let is_wanted = name == version || name.starts_with(&format!("{version}."));
                        is_wanted.then(|| folder.join("bin/python3"))
                    }),
            );
        }
    }
    candidates.extend(["/usr/bin/python3".into(), python()?]);
    for candidate in candidates {
        let works = Command::new(&candidate)
            .args(["-c", "import test.test_socket"])
            .output();
        if works.is_ok_and(|output| output.status.success()) {
            return Ok(candidate);
        }
    }
    bail!(
        "no Python here carries `test.test_socket`: install Debian's libpython3.11-testsuite \
         (compat-tests/setup.sh does) or a Python of pyenv"
    )
}

struct Side {
    world: World,
    under: Under,
    python: PathBuf,
}

impl Side {
    fn start(&self, words: &[&str]) -> Result<(Program, PathBuf)> {
        let mut command = self.world.command(self.under, &self.python)?;
        let folder = tempfile::tempdir_in(self.world.path(""))?.keep();
        let results = folder.join("results.xml");
        command
            .args(["-m", "test", "--junit-xml"])
            .arg(&results)
            .args(["-i", IGNORED]);
        command.args(words);
        // Their own temporary files go where the world takes them away.
        command.env("TMPDIR", &folder);
        Ok((self.world.start("cpython", command)?, results))
    }

    fn results(&self, program: Program, results: &Path) -> Result<BTreeMap<String, String>> {
        let ended = program.wait(Deadline::seconds(800))?;
        let output = Command::new(&self.python)
            .arg(python_program("junit_lines"))
            .arg(results)
            .output()?;
        let text = String::from_utf8(output.stdout)?;
        ensure!(
            output.status.success() && !text.is_empty(),
            "no results: {}\n{}{}",
            String::from_utf8_lossy(&output.stderr),
            ended.stdout,
            ended.stderr
        );
        let pairs = text.lines().filter_map(|line| line.split_once('\t'));
        Ok(pairs
            .map(|(name, result)| (name.to_owned(), result.to_owned()))
            .collect())
    }

    fn alone(&self, test: &str) -> Result<BTreeMap<String, String>> {
        // Names are `test.test_socket.Class.method`, and errors in set-up `setUpClass (test.…)`.
        let named = test
            .split_once('(')
            .map_or(test, |(_, rest)| rest.trim_end_matches(')'));
        let module = named.split('.').nth(1).context("a test has a module")?;
        let (program, results) = self.start(&["-m", named, module])?;
        self.results(program, &results)
    }
}

fn differences(
    native: &BTreeMap<String, String>,
    exo: &BTreeMap<String, String>,
) -> Vec<(String, String, String)> {
    let all = native
        .keys()
        .chain(exo.keys().filter(|name| !native.contains_key(*name)));
    let result = |side: &BTreeMap<String, String>, name: &String| {
        side.get(name)
            .cloned()
            .unwrap_or_else(|| "(not run)".to_owned())
    };
    all.map(|name| (name.clone(), result(native, name), result(exo, name)))
        .filter(|(_, native, exo)| native != exo)
        .collect()
}

#[test]
fn cpythons_own_tests_have_the_same_results() -> Result<()> {
    let python = python_with_tests()?;
    let under = if is_native_only() {
        Under::Kernel
    } else {
        Under::Exo
    };
    let native = Side {
        world: World::native()?,
        under: Under::Kernel,
        python: python.clone(),
    };
    let exo = Side {
        world: World::for_programs(under, GROUPS)?,
        under,
        python,
    };
    let (native_program, native_results) = native.start(&MODULES)?;
    let (exo_program, exo_results) = exo.start(&MODULES)?;
    let of_native = native
        .results(native_program, &native_results)
        .context("natively")?;
    let of_exo = exo
        .results(exo_program, &exo_results)
        .context("under the shim")?;
    ensure!(
        of_native.len() > 1_000,
        "only {} tests ran",
        of_native.len()
    );
    let differ = differences(&of_native, &of_exo);
    ensure!(
        differ.len() <= RETRIED_MAX,
        "{} tests differ: {differ:#?}",
        differ.len()
    );
    let mut again = Vec::new();
    for (test, ..) in &differ {
        // A test that was skipped on one side alone or did not run is looked at in the same way.
        again.extend(differences(&native.alone(test)?, &exo.alone(test)?));
    }
    ensure!(
        again.is_empty(),
        "test, natively, under the shim: {again:#?}"
    );
    if !is_native_only() {
        exo.world.close()?;
    }
    Ok(())
}
