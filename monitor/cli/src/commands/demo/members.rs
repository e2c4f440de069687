//! The members: three kinds of program, none of which knows anything of Exo.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::{GROUP, PORT};

/// Every datagram: a line of this many bytes, so that the bytes of a file are the order of its
/// datagrams.
pub(super) const DATAGRAM_BYTES: u64 = 64;
/// From the start of a program to its join.
const PATIENCE: Duration = Duration::from_secs(15);

/// The kinds of member.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// Python's standard library; one thread sends, one receives.
    Python,
    /// A C program around poll.
    C,
    /// socat, as Debian ships it.
    Socat,
}

impl Kind {
    /// The word in names and tables.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::C => "c",
            Self::Socat => "socat",
        }
    }

    /// What a program of this kind writes to stderr once it has joined.
    fn ready(self) -> &'static str {
        match self {
            Self::Python | Self::C => "ready",
            Self::Socat => "starting data transfer loop",
        }
    }
}

/// The members' programs, made from what this binary carries.
#[derive(Debug)]
pub(super) struct Tools {
    script: PathBuf,
    program: PathBuf,
}

impl Tools {
    /// Writes the script and compiles the C program, both into `folder`.
    pub(super) fn prepare(folder: &Path) -> anyhow::Result<Self> {
        let (script, source) = (folder.join("member.py"), folder.join("member.c"));
        let program = folder.join("member");
        for (path, text) in [
            (&script, include_str!("member.py")),
            (&source, include_str!("member.c")),
        ] {
            std::fs::write(path, text)
                .with_context(|| format!("cannot write {}; set TMPDIR", path.display()))?;
        }
        let output = Command::new("cc")
            .arg("-O2")
            .arg("-o")
            .arg(&program)
            .arg(&source)
            .output();
        let output = output.context("cannot run cc (apt-get install -y gcc libc6-dev)")?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr);
            bail!(
                "cc cannot compile the member (apt-get install -y libc6-dev): {}",
                why.trim()
            );
        }
        Ok(Self { script, program })
    }

    /// The command line of one member, without whatever runs it.
    fn command_line(&self, kind: Kind, name: &str, interface: &str, count: u32) -> Vec<String> {
        let own = |program: &[&str]| {
            let count = count.to_string();
            let rest = [name, GROUP, PORT, interface, &count];
            [program, &rest]
                .concat()
                .iter()
                .map(|word| (*word).to_owned())
                .collect()
        };
        match kind {
            Kind::Python => own(&["python3", &self.script.display().to_string()]),
            Kind::C => own(&[&self.program.display().to_string()]),
            Kind::Socat => {
                let bytes = DATAGRAM_BYTES.to_string(); // one datagram per read of stdin
                let socket = format!(
                    "UDP4-DATAGRAM:{GROUP}:{PORT},bind={GROUP}:{PORT},reuseaddr,\
                     ip-add-membership={GROUP}:{interface},ip-multicast-if={interface}"
                );
                ["socat", "-d", "-d", "-b", &bytes, "STDIO", &socket]
                    .map(str::to_owned)
                    .to_vec()
            }
        }
    }
}

/// One running member. Ended when dropped.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) received: PathBuf,
    count: u32,
    program: Program,
}

impl Member {
    /// Starts a member; `run` is what stands before its command line, if anything.
    pub(super) fn start(
        tools: &Tools,
        kind: Kind,
        name: &str,
        (interface, count): (&str, u32),
        run: &[String],
        received: PathBuf,
    ) -> anyhow::Result<Self> {
        let file = File::create(&received)
            .with_context(|| format!("cannot make {}", received.display()))?;
        let words = tools.command_line(kind, name, interface, count);
        let program = Program::start(&[run, &words].concat(), file)?;
        Ok(Self {
            kind,
            name: name.to_owned(),
            received,
            count,
            program,
        })
    }

    /// Waits until it has joined the group and can send.
    pub(super) fn wait_until_joined(&self) -> anyhow::Result<()> {
        self.program
            .wait_for(self.kind.ready())
            .with_context(|| self.name.clone())
    }

    /// Lets it send. The script and the C program wait for a line and make their datagrams
    /// themselves; socat sends what it reads.
    pub(super) fn go(&mut self) {
        let stdin = self.program.child.stdin.take();
        let mut stdin = stdin.expect("a member is started once");
        let text = match self.kind {
            Kind::Python | Kind::C => "go\n".to_owned(),
            Kind::Socat => datagrams(&self.name, self.count),
        };
        // On a thread, because the pipe is full long before socat has sent everything. It stays
        // open until the demonstration ends, so that no program ends before.
        std::thread::spawn(move || {
            if stdin.write_all(text.as_bytes()).is_ok() {
                std::thread::park();
            }
        });
    }

    /// Whole datagrams in its file so far.
    pub(super) fn received_count(&self) -> u64 {
        self.received
            .metadata()
            .map_or(0, |file| file.len() / DATAGRAM_BYTES)
    }

    /// Why it is not running any more, with its last words; `None` while it runs.
    pub(super) fn end(&mut self) -> Option<String> {
        let why = self.program.end()?;
        Some(format!("{} {why}", self.name))
    }
}

/// One running program. Ended when dropped.
#[derive(Debug)]
struct Program {
    child: Child,
    stderr: Receiver<String>,
}

impl Program {
    fn start(words: &[String], stdout: File) -> anyhow::Result<Self> {
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .stdin(Stdio::piped())
            .stdout(stdout)
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", words.join(" ")))?;
        let stderr = child.stderr.take().expect("stderr was asked for as a pipe");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                // Read on without a listener, or the program would block on its messages.
                let _ = sender.send(line);
            }
        });
        Ok(Self {
            child,
            stderr: lines,
        })
    }

    fn wait_for(&self, word: &str) -> anyhow::Result<()> {
        let mut said = Vec::new();
        loop {
            let Ok(line) = self.stderr.recv_timeout(PATIENCE) else {
                bail!("did not join the group; it said: {}", said.join(" | "));
            };
            if line.contains(word) {
                return Ok(());
            }
            said.push(line);
        }
    }

    fn end(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok()??;
        let said: Vec<String> = self.stderr.try_iter().collect();
        Some(format!("ended ({status}): {}", said.join(" | ")))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Both fail only for a program that has ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The datagrams of a member that cannot count: the same lines as the script makes.
fn datagrams(name: &str, count: u32) -> String {
    (1..=count)
        .map(|number| format!("{:<63}\n", format!("{name} {number:010}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_datagram_is_a_line_of_the_same_length() {
        let text = datagrams("socat-1", 3);
        assert_eq!(text.len() as u64, 3 * DATAGRAM_BYTES);
        assert!(
            text.lines()
                .all(|line| line.len() as u64 == DATAGRAM_BYTES - 1)
        );
        assert!(text.starts_with("socat-1 0000000001 "));
    }
}
