//! The C load programs: compiled once, started, spoken with over their stdin and stdout.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context as _, bail};

/// Where the compiled programs are.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) load: PathBuf,
    pub(crate) pingpong: PathBuf,
    pub(crate) floor: PathBuf,
    pub(crate) frame: PathBuf,
    pub(crate) oneway: PathBuf,
}

/// Compiles `sources/*.c` into `folder`.
pub(crate) fn compile(sources: &Path, folder: &Path) -> anyhow::Result<Programs> {
    let compiled = |name: &str| -> anyhow::Result<PathBuf> {
        let (source, program) = (sources.join(format!("{name}.c")), folder.join(name));
        let output = Command::new("cc")
            .args(["-O2", "-o"])
            .arg(&program)
            .arg(&source)
            .output()
            .context("cannot run cc (apt-get install gcc libc6-dev)")?;
        if !output.status.success() {
            bail!(
                "cc {}: {}",
                source.display(),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(program)
    };
    Ok(Programs {
        load: compiled("load")?,
        pingpong: compiled("pingpong")?,
        floor: compiled("floor")?,
        frame: compiled("frame")?,
        oneway: compiled("oneway")?,
    })
}

/// One started program. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Running {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Running {
    /// Starts `command`, called `name` in errors.
    pub(crate) fn start(name: &str, mut command: Command) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {name} ({command:?})"))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().expect("stdout was asked for as a pipe");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let Ok(line) = line else { break };
                if sender.send(line).is_err() {
                    break; // nobody listens any more
                }
            }
        });
        Ok(Self {
            name: name.to_owned(),
            child,
            stdin,
            lines,
        })
    }

    /// Writes a line to the program.
    pub(crate) fn say(&mut self, line: &str) -> anyhow::Result<()> {
        let stdin = self
            .stdin
            .as_mut()
            .expect("stdin is open until the program is dropped");
        // One write: a program that read "go" must not find a line's end left over.
        let line = format!("{line}\n");
        stdin
            .write_all(line.as_bytes())
            .with_context(|| format!("{} ended too early", self.name))
    }

    /// The next line, which must start with `start`; what follows is returned.
    pub(crate) fn line(&mut self, start: &str, within: Duration) -> anyhow::Result<String> {
        match self.lines.recv_timeout(within) {
            Ok(line) => match line.strip_prefix(start) {
                Some(rest) => Ok(rest.to_owned()),
                None => bail!("{} said {line:?} where {start:?} was expected", self.name),
            },
            Err(RecvTimeoutError::Timeout) => {
                bail!(
                    "{} said nothing for {within:?}; it waited for {start:?}",
                    self.name
                )
            }
            Err(RecvTimeoutError::Disconnected) => {
                let status = self.child.wait();
                bail!("{} ended before it said {start:?}: {status:?}", self.name)
            }
        }
    }

    /// The next line as `key=value` fields.
    pub(crate) fn fields(&mut self, start: &str, within: Duration) -> anyhow::Result<Fields> {
        let line = format!("{start}{}", self.line(start, within)?);
        Ok(Fields(
            line.split_whitespace()
                .filter_map(|word| word.split_once('='))
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
        ))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only for a process that has ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The `key=value` words of one line.
#[derive(Debug)]
pub(crate) struct Fields(HashMap<String, String>);

impl Fields {
    /// The value of `key` as it stands.
    pub(crate) fn text(&self, key: &str) -> anyhow::Result<&str> {
        self.0
            .get(key)
            .map(String::as_str)
            .with_context(|| format!("no {key}= in {:?}", self.0))
    }

    /// The value of `key` as a count.
    pub(crate) fn count(&self, key: &str) -> anyhow::Result<u64> {
        self.text(key)?
            .parse()
            .with_context(|| format!("{key}= is not a count"))
    }

    /// The value of `key` as a measurement.
    pub(crate) fn number(&self, key: &str) -> anyhow::Result<f64> {
        self.text(key)?
            .parse()
            .with_context(|| format!("{key}= is not a number"))
    }
}
