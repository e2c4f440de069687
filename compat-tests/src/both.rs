//! One case natively and under Exo, compared line by line.
//!
//! A case is a function of a C program in `programs/`. It prints one line per step,
//! `name: result`, and `end` when it got to its end. Both sides have to print the same lines but
//! for the differences that the case lists, each with its reason; a listed difference that does not
//! show is an error as well, so the list stays true.

use crate::binaries::is_native_only;
use crate::compile::c_program;
use crate::deadline::Deadline;
use crate::world::{ADDRESS, GROUPS, LINK, Under, World};
use anyhow::{Context, Result, ensure};
use std::fmt::Write;

/// To which address receivers bind, besides the port: sockets are marked by either.
const BINDS: [&str; 2] = ["group", "any"];

/// One step whose result is not the kernel's, on purpose.
#[derive(Clone, Copy, Debug)]
struct Difference {
    step: &'static str,
    native: &'static str,
    exo: &'static str,
}

/// A function of a C program, to be run in both ways.
#[derive(Debug)]
pub struct Case {
    program: &'static str,
    name: &'static str,
    binds: &'static [&'static str],
    groups: String,
    is_ordered: bool,
    seconds: u64,
    differences: Vec<Difference>,
}

impl Case {
    /// The function `name` of `programs/PROGRAM.c`.
    pub fn new(program: &'static str, name: &'static str) -> Self {
        let groups = GROUPS.to_owned();
        Self {
            program,
            name,
            binds: &BINDS,
            groups,
            is_ordered: true,
            seconds: 40,
            differences: Vec::new(),
        }
    }

    /// Receivers bind only in this way: `group` or `any`.
    #[must_use]
    pub fn bind(mut self, how: &'static str) -> Self {
        self.binds = if how == BINDS[0] {
            &BINDS[..1]
        } else {
            &BINDS[1..]
        };
        self
    }

    /// More groups than the usual ones.
    #[must_use]
    pub fn more_groups(mut self, tables: &str) -> Self {
        self.groups.push_str(tables);
        self
    }

    /// Nothing is sent to a group in this case, so the monitor need not have ordered anything.
    #[must_use]
    pub fn sends_nothing(mut self) -> Self {
        self.is_ordered = false;
        self
    }

    /// One run may take so long.
    #[must_use]
    pub fn within(mut self, seconds: u64) -> Self {
        self.seconds = seconds;
        self
    }

    /// The step `step` is `native` natively and `exo` under Exo, because of `_why`.
    #[must_use]
    pub fn differs(
        mut self,
        step: &'static str,
        native: &'static str,
        exo: &'static str,
        _why: &'static str,
    ) -> Self {
        self.differences.push(Difference { step, native, exo });
        self
    }

    /// Runs it in all ways.
    ///
    /// # Panics
    ///
    /// With both outputs when they differ in a way that is not listed.
    pub fn check(self) {
        if let Err(error) = self.try_check() {
            panic!("{}, case {}: {error:?}", self.program, self.name);
        }
    }

    fn try_check(&self) -> Result<()> {
        let native_world = World::native()?;
        let exo_world = match is_native_only() {
            true => None,
            false => Some(World::with_monitor(&self.groups)?),
        };
        for bind in self.binds {
            let native = self
                .steps(&native_world, Under::Kernel, bind)
                .context("natively")?;
            if let Some(exo_world) = &exo_world {
                let exo = self
                    .steps(exo_world, Under::Exo, bind)
                    .context("under Exo")?;
                self.compare(bind, &native, &exo)?;
            }
        }
        if let Some(exo_world) = exo_world {
            if self.is_ordered {
                ensure!(
                    exo_world.ordered()? > 0,
                    "the monitor ordered nothing: Exo was bypassed"
                );
            }
            exo_world.close()?;
        }
        Ok(())
    }

    fn steps(&self, world: &World, under: Under, bind: &str) -> Result<Vec<String>> {
        let mut command = world.command(under, c_program(self.program)?)?;
        command.arg(self.name);
        command.envs([("BIND", bind), ("ADDRESS", ADDRESS), ("LINK", LINK)]);
        let ended = world
            .run(self.program, command, Deadline::seconds(self.seconds))?
            .ok()?;
        let steps: Vec<String> = ended.stdout.lines().map(str::to_owned).collect();
        ensure!(
            steps.last().is_some_and(|last| last == "end"),
            "it stopped early, bound to {bind}:\n{}{}",
            ended.stdout,
            ended.stderr
        );
        Ok(steps)
    }

    fn compare(&self, bind: &str, native: &[String], exo: &[String]) -> Result<()> {
        let expected: Vec<String> = native.iter().map(|step| self.expected(step)).collect();
        let unused: Vec<&Difference> = self
            .differences
            .iter()
            .filter(|difference| !native.contains(&difference.native_step()))
            .collect();
        ensure!(
            unused.is_empty(),
            "natively these steps are not as listed: {unused:?}\n{native:#?}"
        );
        if expected == exo {
            return Ok(());
        }
        let mut table = String::new();
        for index in 0..expected.len().max(exo.len()) {
            let [native, exo] = [&expected[..], exo]
                .map(|side| side.get(index).map_or("(nothing)", String::as_str));
            let mark = if native == exo { ' ' } else { '!' };
            writeln!(table, "{mark} {native:<50} | {exo}")?;
        }
        anyhow::bail!("bound to {bind}: expected | under Exo\n{table}")
    }

    fn expected(&self, step: &str) -> String {
        self.differences
            .iter()
            .find(|difference| difference.native_step() == step)
            .map_or_else(
                || step.to_owned(),
                |found| format!("{}: {}", found.step, found.exo),
            )
    }
}

impl Difference {
    fn native_step(&self) -> String {
        format!("{}: {}", self.step, self.native)
    }
}

/// Declares one test per case of a program; the test's name says what it proves.
#[macro_export]
macro_rules! cases {
    ($($test:ident => $case:expr;)*) => {
        $(
            #[test]
            fn $test() {
                $case.check();
            }
        )*
    };
}
