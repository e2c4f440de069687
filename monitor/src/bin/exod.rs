//! `exod`: the monitor daemon of Exo.

use std::io::Write;
use std::net::SocketAddr;
use std::os::fd::{AsFd, FromRawFd, RawFd};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use exo_monitor::config::{self, Arguments, LogFormat};
use exo_monitor::control_plane::Control;
use exo_monitor::observe;
use exo_monitor::undertaker::Undertaker;
use nix::sys::signal::{SigSet, Signal};

/// Orders the datagrams of marked groups and hands them to all members in one order.
#[derive(Debug, Parser)]
#[command(name = "exod", version)]
struct Options {
    /// Configuration file; its drop-ins are FILE.d/*.toml.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to listen; outranks the configuration.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Marks a group, beside those of the configuration.
    #[arg(short = 'g', long = "group", value_name = "ADDRESS:PORT")]
    groups: Vec<SocketAddr>,
    /// Stops after this long without an attached process, such as 10s; 0s is never.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    idle_exit: Option<Duration>,
    /// How a log line is written.
    #[arg(long, value_name = "FORMAT", value_parser = parse_log_format)]
    log_format: Option<LogFormat>,
    /// What is logged: off, error, warn, info, debug, trace, or a list like `info,exo_monitor=debug`.
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// Writes one byte to this descriptor once processes can attach.
    #[arg(long, value_name = "FD")]
    ready_fd: Option<RawFd>,
    /// Not a monitor, but the process that wakes the members of one that died; started by it.
    #[arg(long, hide = true)]
    undertaker: bool,
}

fn parse_duration(text: &str) -> Result<Duration, humantime::DurationError> {
    humantime::parse_duration(text)
}

fn parse_log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        other => Err(format!("{other} is neither text nor json")),
    }
}

fn main() -> ExitCode {
    match run(Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The one line that must reach whoever started us, log or not.
            let _ = writeln!(std::io::stderr(), "exod: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> Result<()> {
    let blocked = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP]);
    blocked.thread_block().context("cannot block signals")?;
    if options.undertaker {
        // The signals that end a monitor stay blocked: its end is what this process waits for.
        let input = std::io::stdin().as_fd().try_clone_to_owned()?;
        exo_monitor::undertaker::serve(input);
        return Ok(());
    }
    let arguments = Arguments {
        socket: options.socket,
        log: options.log,
        log_format: options.log_format,
        idle_exit: options.idle_exit,
        groups: options.groups,
    };
    // With groups on the command line and no file named, no file is needed.
    let (path, required) = match options.config {
        Some(path) => (Some(path), true),
        None if arguments.groups.is_empty() => (Some(PathBuf::from(config::CONFIG_FILE)), false),
        None => (None, false),
    };
    let loaded = config::load(path.as_deref(), required, &arguments)?;
    observe::start_log(&loaded.config.monitor.log, loaded.config.monitor.log_format)
        .map_err(anyhow::Error::msg)
        .context("the log filter is not understood (try --log info)")?;
    if loaded.config.hosts.len() > 1 {
        keep_memory();
    }
    let groups = loaded.config.groups.len();
    let undertaker = Undertaker::start().context("cannot start the undertaker")?;
    let mut control = Control::start(loaded, path, arguments, undertaker)?;
    control
        .take_signals(&blocked)
        .context("cannot take signals")?;
    tracing::info!(socket = %control.socket_path().display(), groups, "ready");
    observe::tell_ready();
    if let Some(fd) = options.ready_fd {
        tell_ready_fd(fd);
    }
    control.run().context("the event loop failed")?;
    observe::tell_stopping();
    Ok(())
}

/// A turn's memory comes back a rotation later: giving it to the system between costs more than the
/// turn itself.
#[allow(unsafe_code, reason = "glibc's own settings have no safe wrapper")]
fn keep_memory() {
    use nix::libc::{M_MMAP_THRESHOLD, M_TOP_PAD, M_TRIM_THRESHOLD, mallopt};
    for (setting, bytes) in [
        (M_TRIM_THRESHOLD, 64 << 20),
        (M_TOP_PAD, 1 << 20),
        (M_MMAP_THRESHOLD, 4 << 20),
    ] {
        // SAFETY: numbers that glibc knows, before another thread exists. One that it refuses
        // changes nothing.
        let _ = unsafe { mallopt(setting, bytes) };
    }
}

#[allow(unsafe_code, reason = "the descriptor is given by number")]
fn tell_ready_fd(fd: RawFd) {
    // SAFETY: whoever started us gave us this descriptor for this purpose; it is used only here.
    let mut file = unsafe { std::fs::File::from_raw_fd(fd) };
    // Who does not wait for the byte does not miss it.
    let _ = file.write_all(&[1]);
}
