//! A TOML document that remembers where each of its words stands.
//!
//! The positions survive merging, so that a mistake in a drop-in is reported in that drop-in.

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::errors::{ConfigError, Place};

/// Index of a file in [`Sources`].
pub(super) type FileIndex = usize;

/// The texts that were read, in order of rank, lowest first.
#[derive(Debug, Default)]
pub(super) struct Sources {
    files: Vec<(PathBuf, String)>,
}

impl Sources {
    pub(super) fn add(&mut self, path: &Path, text: String) {
        self.files.push((path.to_owned(), text));
    }

    pub(super) fn files(&self) -> Range<FileIndex> {
        0..self.files.len()
    }

    pub(super) fn paths(&self) -> Vec<PathBuf> {
        self.files.iter().map(|(path, _)| path.clone()).collect()
    }

    /// The words at `span`, as written.
    pub(super) fn text(&self, span: &Span) -> &str {
        self.files[span.file]
            .1
            .get(span.bytes.clone())
            .unwrap_or_default()
    }

    pub(super) fn place(&self, span: &Span) -> Place {
        let (path, text) = &self.files[span.file];
        let before = head(text, span.bytes.start);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.matches('\n').count() + 1;
        let column = before[line_start..].chars().count() + 1;
        let count = |n: usize| u32::try_from(n).expect("a file has at most FILE_BYTES_MAX bytes");
        Place::File {
            file: path.clone(),
            line: count(line),
            column: count(column),
        }
    }

    /// Orders mistakes as a reader of the files meets them; those of the command line come last.
    pub(super) fn rank(&self, place: &Place) -> (FileIndex, u32, u32) {
        let index = |path| {
            let known = self.files.iter().position(|(known, _)| known == path);
            known.unwrap_or(self.files.len())
        };
        match place {
            Place::File { file, line, column } => (index(file), *line, *column),
            Place::Whole { file } => (index(file), 0, 0),
            Place::Argument | Place::Default => (FileIndex::MAX, 0, 0),
        }
    }

    pub(super) fn error(&self, span: &Span, what: String, hint: String) -> ConfigError {
        let text = &self.files[span.file].1;
        let start = head(text, span.bytes.start).len();
        let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = text[start..]
            .find('\n')
            .map_or(text.len(), |newline| start + newline);
        let line = text[line_start..line_end].trim_end();
        let meant_end = head(text, span.bytes.end).len().clamp(start, line_end);
        let width = text[start..meant_end].trim_end().chars().count().max(1);
        ConfigError {
            place: self.place(span),
            what,
            hint,
            excerpt: Some((line.to_owned(), width)),
        }
    }
}

/// `text` up to `end`, or to the character that `end` points into.
fn head(text: &str, end: usize) -> &str {
    &text[..text.floor_char_boundary(end)]
}

/// A range of bytes in one of the files.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Span {
    pub(super) file: FileIndex,
    pub(super) bytes: Range<usize>,
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) span: Span,
    pub(super) value: Value,
}

/// What may stand in a TOML document.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Table(Table),
    Array(Vec<Node>),
    String(String),
    Integer(Option<i64>),
    Boolean(bool),
    /// A number with a point, or a date: no setting takes one.
    Other(&'static str),
}

impl Value {
    /// What it is, for a message.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Table(_) => "a table",
            Self::Array(_) => "a list",
            Self::String(_) => "a string",
            Self::Integer(_) => "a number",
            Self::Boolean(_) => "true or false",
            Self::Other(kind) => kind,
        }
    }
}

/// Keys with their values, in the order in which they were first written.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Table {
    pub(super) entries: Vec<Entry>,
}

/// One key of a table.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_span: Span,
    pub(super) node: Node,
}

impl Table {
    pub(super) fn find(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }
}

/// Parses one file as far as it goes, with every mistake in its spelling.
pub(super) fn parse(sources: &Sources, file: FileIndex) -> (Table, Vec<ConfigError>) {
    let text = &sources.files[file].1;
    let (document, mistakes) = DeTable::parse_recoverable(text);
    let errors = mistakes
        .iter()
        .map(|mistake| {
            let span = Span {
                file,
                bytes: mistake.span().unwrap_or(0..0),
            };
            let what = mistake.message().lines().collect::<Vec<_>>().join(", ");
            sources.error(
                &span,
                what,
                "this is not TOML: see https://toml.io".to_owned(),
            )
        })
        .collect();
    (table(file, document.get_ref()), errors)
}

fn table(file: FileIndex, source: &DeTable<'_>) -> Table {
    let mut entries: Vec<Entry> = source
        .iter()
        .map(|(key, value)| entry(file, key, value))
        .collect();
    entries.sort_by_key(|entry| entry.key_span.bytes.start);
    Table { entries }
}

fn entry(file: FileIndex, key: &Spanned<DeString<'_>>, value: &Spanned<DeValue<'_>>) -> Entry {
    Entry {
        key: key.get_ref().to_string(),
        key_span: Span {
            file,
            bytes: key.span(),
        },
        node: node(file, value),
    }
}

fn node(file: FileIndex, source: &Spanned<DeValue<'_>>) -> Node {
    let value = match source.get_ref() {
        DeValue::Table(source) => Value::Table(table(file, source)),
        DeValue::Array(items) => Value::Array(items.iter().map(|item| node(file, item)).collect()),
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(digits) => {
            Value::Integer(i64::from_str_radix(digits.as_str(), digits.radix()).ok())
        }
        DeValue::Boolean(truth) => Value::Boolean(*truth),
        DeValue::Float(_) => Value::Other("a number with a point"),
        DeValue::Datetime(_) => Value::Other("a date"),
    };
    Node {
        span: Span {
            file,
            bytes: source.span(),
        },
        value,
    }
}
