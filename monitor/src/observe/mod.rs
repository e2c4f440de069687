//! What the monitor says: structured logs, and words for the service manager.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// Starts logging to stderr. A second call in one process changes nothing.
///
/// # Errors
///
/// A filter that cannot be understood, in the words of its parser.
pub fn start_log(filter: &str, format: LogFormat) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| error.to_string())?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // An error means that somebody set a logger up before; that one stays.
    let _ = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    Ok(())
}

/// Tells the service manager, if there is one, that the monitor is ready.
pub fn tell_ready() {
    // Without a service manager there is nobody to tell.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
}

/// Tells the service manager that the monitor is stopping.
pub fn tell_stopping() {
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
}
