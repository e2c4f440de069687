//! `exo sim rack`: the timing of the published rack-scale ring, computed from its parts.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use exo_sim::rack::{self, Frame, Parameters};
use serde::Serialize;

use crate::errors::{FAILED, Stop};
use crate::output::Output;

/// Arguments of `exo sim rack`.
#[derive(clap::Args, Debug)]
pub(crate) struct SimRackArgs {
    /// How many hosts the ring has.
    #[arg(long, value_name = "COUNT", default_value_t = 200, value_parser = hosts())]
    hosts: u32,
    /// Length of a turn's frame in bytes, from address to checksum.
    #[arg(long, value_name = "BYTES", default_value_t = Frame::SMALLEST.bytes, value_parser = bytes())]
    frame_bytes: u32,
    /// Let a turn wait for the end of the frame before it, as Exo does; the slides let it wait for
    /// the beginning.
    #[arg(long)]
    whole_frames: bool,
    /// Draw agreement against the number of hosts into this file, as SVG.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

fn hosts() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(i64::from(rack::HOSTS_MIN)..=i64::from(rack::HOSTS_MAX))
}

fn bytes() -> clap::builder::RangedI64ValueParser<u32> {
    let (least, most) = (rack::FRAME_BYTES_MIN, rack::FRAME_BYTES_MAX);
    clap::value_parser!(u32).range(i64::from(least)..=i64::from(most))
}

#[derive(Serialize)]
struct Report {
    schema: &'static str,
    #[serde(flatten)]
    report: rack::Report,
}

/// Computes, draws if asked to, and prints.
pub(crate) fn rack_command(args: &SimRackArgs, out: &Output) -> anyhow::Result<ExitCode> {
    let parameters = Parameters {
        hosts: args.hosts,
        ..Parameters::default()
    };
    let report = rack::report(&parameters.with_frame(Frame {
        bytes: args.frame_bytes,
        is_taken_whole: args.whole_frames,
        ..Frame::SMALLEST
    }));
    if let Some(file) = &args.plot {
        fs::write(file, report.svg()).map_err(|error| {
            let what = format!("cannot write {}: {error}", file.display());
            Stop::new(
                FAILED,
                what,
                "name a file in a folder that you may write to",
            )
        })?;
    }
    let report = Report {
        schema: "exo.sim-rack/1",
        report,
    };
    out.report(&report, || report.report.to_string())?;
    Ok(ExitCode::SUCCESS)
}
