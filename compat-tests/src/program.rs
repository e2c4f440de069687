//! A running program: its output, its end, and that it never outlives its test.

use crate::deadline::Deadline;
use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

/// A started program with its output in files. Dropping it kills its whole process group.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
    status: Option<ExitStatus>,
}

/// What a program left behind.
#[derive(Clone, Debug)]
pub struct Ended {
    /// As the kernel reported it.
    pub status: ExitStatus,
    /// Everything written to descriptor 1.
    pub stdout: String,
    /// Everything written to descriptor 2.
    pub stderr: String,
}

impl Program {
    /// Starts `command` with its output in `folder`, in a process group of its own.
    ///
    /// # Errors
    ///
    /// When files or the process cannot be made.
    pub fn start(mut command: Command, name: &str, folder: &Path) -> Result<Self> {
        let (stdout, stderr) = (fresh(folder, name, "out")?, fresh(folder, name, "err")?);
        let child = command
            .stdin(Stdio::piped())
            .stdout(File::create(&stdout)?)
            .stderr(File::create(&stderr)?)
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {name}: {command:?}"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            stdout,
            stderr,
            status: None,
        })
    }

    /// Its process id, which stays the same through every exec.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Descriptor 1 so far.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn stdout(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(&self.stdout)?).into_owned())
    }

    /// Descriptor 2 so far.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn stderr(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(&self.stderr)?).into_owned())
    }

    /// Writes `text` to its standard input.
    ///
    /// # Errors
    ///
    /// When it has closed it.
    pub fn say(&mut self, text: &str) -> Result<()> {
        let input = self
            .child
            .stdin
            .as_mut()
            .context("its standard input is closed")?;
        input
            .write_all(text.as_bytes())
            .with_context(|| format!("writing to {}", self.name))
    }

    /// Closes its standard input.
    pub fn hush(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Sends `signal` to the program alone.
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(self.pid(), signal).with_context(|| format!("{signal} to {}", self.name))
    }

    /// Has it ended, and how?
    ///
    /// # Errors
    ///
    /// When it cannot be waited for.
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        if self.status.is_none() {
            self.status = self.child.try_wait()?;
        }
        Ok(self.status)
    }

    /// Waits for a line of its output that contains `text`.
    ///
    /// # Errors
    ///
    /// When the deadline passes, or the program ends without it; both with its output.
    pub fn wait_for(&mut self, text: &str, deadline: Deadline) -> Result<String> {
        let name = self.name.clone();
        let waited = deadline.until(&format!("{text:?} from {name}"), || {
            let ended = self.try_wait()?;
            let both = format!("{}{}", self.stdout()?, self.stderr()?);
            match both.lines().find(|line| line.contains(text)) {
                Some(line) => Ok(Some(line.to_owned())),
                None if ended.is_some() => bail!("{name} ended without {text:?}: {ended:?}"),
                None => Ok(None),
            }
        });
        waited.with_context(|| self.output_for_people())
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// When the deadline passes; the program is then killed.
    pub fn wait(mut self, deadline: Deadline) -> Result<Ended> {
        self.hush();
        let name = self.name.clone();
        let status = deadline
            .until(&format!("the end of {name}"), || self.try_wait())
            .with_context(|| self.output_for_people())?;
        Ok(Ended {
            status,
            stdout: self.stdout()?,
            stderr: self.stderr()?,
        })
    }

    /// Waits until it has used no processor time for a while: it has nothing left to do.
    ///
    /// # Errors
    ///
    /// When it ends or the deadline passes.
    pub fn wait_quiet(&self, deadline: Deadline) -> Result<()> {
        const LOOKS: u32 = 100; // 100 looks of 2 ms without a tick of the 10 ms clock
        let (mut before, mut same) = (String::new(), 0);
        deadline.until(&format!("quiet of {}", self.name), || {
            let used = processor_time(self.pid())?;
            same = if used == before { same + 1 } else { 0 };
            before = used;
            Ok((same >= LOOKS).then_some(()))
        })
    }

    fn output_for_people(&self) -> String {
        let end = |text: String| {
            let from = text.char_indices().rev().nth(4000).map_or(0, |(at, _)| at);
            text[from..].to_owned()
        };
        let read = |text: Result<String>| text.map_or_else(|error| error.to_string(), end);
        format!(
            "{}: status {:?}\n--- stdout\n{}--- stderr\n{}",
            self.name,
            self.status,
            read(self.stdout()),
            read(self.stderr())
        )
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Its children may outlive it, so the group is killed even when it has ended itself;
        // an empty group is an error that means there is nothing to do.
        let _ = killpg(self.pid(), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

impl Ended {
    /// Itself when the exit code was 0.
    ///
    /// # Errors
    ///
    /// Another end, with the output.
    pub fn ok(self) -> Result<Self> {
        if self.status.success() {
            return Ok(self);
        }
        let Self {
            status,
            stdout,
            stderr,
        } = self;
        bail!(
            "exit {:?}, signal {:?}\n--- stdout\n{stdout}--- stderr\n{stderr}",
            status.code(),
            status.signal()
        )
    }
}

/// User and system time of a process in clock ticks, as text.
fn processor_time(pid: Pid) -> Result<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = stat.rsplit_once(')').context("stat without a name")?.1;
    let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
    let [user, system] = [11, 12].map(|index| fields.get(index).copied().unwrap_or_default());
    Ok(format!("{user} {system}"))
}

fn fresh(folder: &Path, name: &str, kind: &str) -> Result<PathBuf> {
    for count in 1..100_000_u32 {
        let path = folder.join(format!("{name}.{count}.{kind}"));
        match File::create_new(&path) {
            Ok(_) => return Ok(path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        }
    }
    bail!("too many outputs called {name}")
}
