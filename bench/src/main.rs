//! `exo-bench`: the kernel's multicast and Exo under the same unmodified programs, beside the
//! machine's floor, in one run.
//!
//! The programs (`bench/programs/*.c`) are plain C; the only difference between the two sides is
//! that Exo's are started with `exo run`. Sides alternate within a row, medians over the repeats
//! are reported, everything happens in a network namespace of its own. `bench/README.md` says what
//! is and what is not measured.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

mod machine;
mod monitor;
mod network;
mod program;
mod report;
mod scenario;
mod statistics;
mod world;

use report::Report;
use scenario::Bench;

/// The kernel's multicast and Exo under the same programs, beside the machine's floor.
#[derive(Debug, clap::Parser)]
#[command(version)]
struct Args {
    /// Fewer repeats and shorter runs: a first look, not a result
    #[arg(long)]
    quick: bool,
    /// Every transport in every row between hosts
    #[arg(long, conflicts_with = "quick")]
    long: bool,
    /// Print the report as JSON instead of tables
    #[arg(long)]
    json: bool,
    /// Repeats of each row; the median is reported
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=99))]
    repeats: Option<u32>,
    /// Run only rows whose name contains this, e.g. "all to all", "ping-pong" or "hop"
    #[arg(long, default_value = "")]
    only: String,
    /// Where `exo`, `exod` and `libexo_shim.so` are; default: beside this program
    #[arg(long)]
    bin: Option<PathBuf>,
    /// Where the C programs are
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/programs"))]
    programs: PathBuf,
    /// Where bench.json and bench.html are written
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/out"))]
    out: PathBuf,
}

fn main() -> ExitCode {
    let args = <Args as clap::Parser>::parse();
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            // Nobody is left to tell when stderr is closed.
            let _ = writeln!(std::io::stderr(), "exo-bench: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Runs every row; true when Exo is ahead of the kernel in each, and lost nothing between hosts.
fn run(args: &Args) -> anyhow::Result<bool> {
    let bin = match &args.bin {
        Some(bin) => bin.clone(),
        None => std::env::current_exe()
            .context("cannot tell where exo-bench is; name the folder with --bin")?
            .parent()
            .context("exo-bench lies in no folder; name the folder with --bin")?
            .to_path_buf(),
    };
    // Before any thread exists: a user namespace can be entered only by a single thread.
    world::enter_own_network()?;
    let binaries = monitor::Binaries::find(&bin)?;
    let folder = tempfile::tempdir().context("cannot make a temporary folder; set TMPDIR")?;
    let programs = program::compile(&args.programs, folder.path())?;
    let repeats = args.repeats.unwrap_or(if args.quick { 1 } else { 5 });
    let bench = Bench {
        binaries,
        programs,
        folder: folder.path(),
        quick: args.quick,
        long: args.long,
        repeats,
    };

    let rows = scenario::all(&bench, &args.only)?;
    anyhow::ensure!(
        !rows.is_empty(),
        "no row's name contains {:?}; leave --only out to see the names",
        args.only
    );
    let machine = machine::describe(rows.line_ns);
    let command = match (args.quick, args.long) {
        (true, _) => "make bench BENCH=--quick",
        (false, true) => "make bench BENCH=--long",
        (false, false) => "make bench",
    };
    let report = Report::new(machine, repeats, args.quick, command, rows);
    std::fs::create_dir_all(&args.out).with_context(|| {
        format!(
            "cannot make {}; name another with --out",
            args.out.display()
        )
    })?;
    let json = serde_json::to_string_pretty(&report).context("the report is not JSON")?;
    std::fs::write(args.out.join("bench.json"), &json)
        .with_context(|| format!("cannot write into {}", args.out.display()))?;
    std::fs::write(args.out.join("bench.html"), report::html::page(&report))
        .with_context(|| format!("cannot write into {}", args.out.display()))?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{json}")?;
    } else {
        write!(out, "{}", report::text::tables(&report))?;
        writeln!(
            out,
            "\nwritten: {0}/bench.json, {0}/bench.html",
            args.out.display()
        )?;
    }
    Ok(report.is_good())
}
