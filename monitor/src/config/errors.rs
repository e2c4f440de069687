//! What is wrong with a configuration, where exactly, and what to write instead.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// Where a value or a mistake stands.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Place {
    /// In a file; line and column count from 1, the column in characters.
    File {
        /// As it was opened.
        file: PathBuf,
        /// 1 is the first.
        line: u32,
        /// 1 is the first.
        column: u32,
    },
    /// A file as a whole: it could not be read.
    Whole {
        /// As it was opened.
        file: PathBuf,
    },
    /// The command line.
    Argument,
    /// Nobody said anything: the default.
    Default,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line, column } => write!(f, "{}:{line}:{column}", file.display()),
            Self::Whole { file } => write!(f, "{}", file.display()),
            Self::Argument => f.write_str("command line"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// One mistake.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct ConfigError {
    /// Where it stands.
    pub place: Place,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub hint: String,
    /// The line of the file as it is written, and how many characters of it are meant.
    #[serde(skip)]
    pub(super) excerpt: Option<(String, usize)>,
}

impl ConfigError {
    pub(super) fn unreadable(file: &Path, error: &io::Error) -> Self {
        let hint = match error.kind() {
            io::ErrorKind::NotFound => "create it, or name another one with --config",
            io::ErrorKind::PermissionDenied => "make it readable, or run as its owner",
            io::ErrorKind::InvalidData => "save it as UTF-8 text",
            io::ErrorKind::FileTooLarge => "split the groups over several monitors",
            _ => "check the path",
        };
        Self {
            place: Place::Whole {
                file: file.to_owned(),
            },
            what: format!("cannot be read: {error}"),
            hint: hint.to_owned(),
            excerpt: None,
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.place, self.what, self.hint)?;
        if let (Place::File { column, .. }, Some((line, width))) = (&self.place, &self.excerpt) {
            let indent: String = line
                .chars()
                .take(*column as usize - 1)
                .map(|c| if c == '\t' { '\t' } else { ' ' })
                .collect();
            write!(f, "\n    {line}\n    {indent}{}", "^".repeat(*width))?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// All mistakes of one reading, in the order of the files; never empty.
#[derive(Clone, Debug)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    pub(super) fn new(errors: Vec<ConfigError>) -> Self {
        assert!(!errors.is_empty());
        Self(errors)
    }

    /// Each of them.
    #[must_use]
    pub fn all(&self) -> &[ConfigError] {
        &self.0
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Why an address cannot be a group's.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{what}; {hint}")]
pub struct AddressError {
    pub(super) what: String,
    pub(super) hint: String,
}
