//! A Python member that does what it is told: `told.py`.

use crate::compile::{python, python_program};
use crate::deadline::Deadline;
use crate::program::Program;
use crate::world::{Under, World};
use anyhow::{Context, Result, bail, ensure};

/// A running `told.py` and how many lines it was told.
#[derive(Debug)]
pub struct Told {
    /// The program itself.
    pub program: Program,
    lines: u32,
}

impl Told {
    /// Starts one under Exo and waits until it is ready.
    ///
    /// # Errors
    ///
    /// When it does not get ready.
    pub fn start(world: &World) -> Result<Self> {
        Self::start_with(world, &[])
    }

    /// With words for `env` between the preload and the program.
    ///
    /// # Errors
    ///
    /// When it does not get ready.
    pub fn start_with(world: &World, env: &[&str]) -> Result<Self> {
        let mut command = world.command(Under::Exo, "env")?;
        command
            .args(env)
            .arg(python()?)
            .arg(python_program("told"))
            .envs([("ADDRESS", world.address()), ("LINK", world.link())]);
        let mut program = world.start("told", command)?;
        program.wait_for("ready", Deadline::seconds(20))?;
        Ok(Self { program, lines: 0 })
    }

    /// Tells it a line and does not wait.
    ///
    /// # Errors
    ///
    /// When it has ended.
    pub fn tell(&mut self, line: &str) -> Result<()> {
        self.lines += 1;
        self.program.say(&format!("{line}\n"))
    }

    /// What came of the last line.
    ///
    /// # Errors
    ///
    /// When nothing came.
    pub fn answer(&mut self) -> Result<String> {
        let start = format!("{} ", self.lines);
        let what = format!("line {} from told", self.lines);
        Deadline::seconds(20).until(&what, || {
            let ended = self.program.try_wait()?;
            // A line that is not whole yet is still being written.
            let text = self.program.stdout()?;
            let whole = text
                .split_inclusive('\n')
                .filter(|line| line.ends_with('\n'));
            let mut rests = whole.filter_map(|line| line.trim_end().strip_prefix(&start));
            match (rests.next(), ended) {
                (Some(rest), _) => {
                    let result = rest.split_once(' ').map_or("", |(_, result)| result);
                    Ok(Some(result.to_owned()))
                }
                (None, Some(status)) => bail!("it ended ({status}):\n{}", self.program.stderr()?),
                (None, None) => Ok(None),
            }
        })
    }

    /// Checks what came of the last line.
    ///
    /// # Errors
    ///
    /// When it is something else.
    #[track_caller]
    pub fn expect(&mut self, expected: &str) -> Result<()> {
        let answer = self.answer()?;
        ensure!(answer == expected, "{answer} instead of {expected}");
        Ok(())
    }

    /// Tells it a line and checks what comes of it.
    ///
    /// # Errors
    ///
    /// When it is something else.
    pub fn has(&mut self, line: &str, expected: &str) -> Result<()> {
        self.tell(line)?;
        self.expect(expected).with_context(|| line.to_owned())
    }
}
