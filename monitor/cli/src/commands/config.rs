//! `exo config`: what the monitor would make of its configuration, without a monitor.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use exo_monitor::config::{self, Arguments, CONFIG_FILE, Config, ConfigErrors, Loaded, Origin};
use serde::Serialize;

use crate::errors::FAILED;
use crate::output::{self, Output};

/// Arguments of `exo config`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum ConfigCommand {
    /// Read the configuration and report every mistake.
    Check(FileArgs),
    /// Print the whole configuration, defaults included.
    Show {
        #[command(flatten)]
        file: FileArgs,
        /// Say for every value where it comes from.
        #[arg(long)]
        origin: bool,
    },
    /// Print the JSON schema of the configuration.
    Schema,
}

/// Which configuration.
#[derive(clap::Args, Debug)]
pub(crate) struct FileArgs {
    /// The main file; FILE.d/*.toml are read after it [default: /etc/exo/exo.toml].
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

impl FileArgs {
    fn load(&self) -> Result<Loaded, ConfigErrors> {
        let file = self.file.as_deref();
        config::load(
            Some(file.unwrap_or_else(|| Path::new(CONFIG_FILE))),
            file.is_some(),
            &Arguments::default(),
        )
    }
}

#[derive(Serialize)]
struct Check {
    schema: &'static str,
    ok: bool,
    files: Vec<PathBuf>,
    errors: Vec<config::ConfigError>,
}

#[derive(Serialize)]
struct Show<'a> {
    schema: &'static str,
    config: &'a Config,
    #[serde(skip_serializing_if = "Option::is_none")]
    origins: Option<&'a [Origin]>,
}

/// Runs one of them.
pub(crate) fn run(command: &ConfigCommand, out: &Output) -> anyhow::Result<ExitCode> {
    match command {
        ConfigCommand::Check(file) => check(file.load(), out),
        ConfigCommand::Show { file, origin } => match file.load() {
            Ok(loaded) => show(&loaded, *origin, out),
            Err(errors) => check(Err(errors), out),
        },
        ConfigCommand::Schema => {
            out.result(&format!("{:#}\n", config::schema()))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn check(loaded: Result<Loaded, ConfigErrors>, out: &Output) -> anyhow::Result<ExitCode> {
    let schema = "exo.config-check/1";
    match loaded {
        Ok(loaded) => {
            let files = loaded.files.clone();
            let report = Check {
                schema,
                ok: true,
                files,
                errors: Vec::new(),
            };
            out.report(&report, || {
                let groups = output::counted(loaded.config.groups.len(), "group");
                let files: Vec<_> = loaded
                    .files
                    .iter()
                    .map(|file| file.display().to_string())
                    .collect();
                let files = if files.is_empty() {
                    format!("no file at {CONFIG_FILE}: all defaults")
                } else {
                    files.join(", ")
                };
                format!("ok: {groups} ({files})\n")
            })?;
            Ok(ExitCode::SUCCESS)
        }
        Err(errors) => {
            let report = Check {
                schema,
                ok: false,
                files: Vec::new(),
                errors: errors.all().to_vec(),
            };
            out.report(&report, || format!("{errors}\n"))?;
            Ok(ExitCode::from(FAILED))
        }
    }
}

fn show(loaded: &Loaded, origin: bool, out: &Output) -> anyhow::Result<ExitCode> {
    let report = Show {
        schema: "exo.config/1",
        config: &loaded.config,
        origins: origin.then_some(loaded.origins.as_slice()),
    };
    let as_toml = toml::to_string(&loaded.config)?;
    out.report(&report, || {
        if origin {
            let row = |origin: &Origin| {
                [
                    origin.key.clone(),
                    origin.value.clone(),
                    origin.from.to_string(),
                ]
            };
            return output::table(
                ["KEY", "VALUE", "FROM"],
                loaded.origins.iter().map(row).collect(),
            );
        }
        as_toml
    })?;
    Ok(ExitCode::SUCCESS)
}
