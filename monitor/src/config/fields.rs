//! Taking the keys out of a table, one by one.
//!
//! Whoever reads a key leaves behind where its value comes from; what is left at the end is unknown
//! to everybody and reported with the nearest key that somebody asked for.

use std::time::Duration;

use super::Origin;
use super::errors::{ConfigError, Place};
use super::tree::{Node, Sources, Span, Table, Value};
use super::units::{parse_duration, parse_size, show_duration, show_size};
use super::values::{Wrong, nearest, one_of, quote, string, word_of};

/// What every reader has at hand.
pub(super) struct Reading<'a> {
    pub(super) sources: &'a Sources,
    pub(super) errors: &'a mut Vec<ConfigError>,
    pub(super) origins: Vec<Origin>,
}

impl Reading<'_> {
    pub(super) fn wrong(&mut self, span: &Span, wrong: Wrong) {
        self.errors
            .push(self.sources.error(span, wrong.what, wrong.hint));
    }

    pub(super) fn wrong_argument(&mut self, wrong: Wrong) {
        let Wrong { what, hint } = wrong;
        self.errors.push(ConfigError {
            place: Place::Argument,
            what,
            hint,
            excerpt: None,
        });
    }

    pub(super) fn origin(&mut self, key: String, value: String, from: Place) {
        self.origins.push(Origin { key, value, from });
    }

    /// The command line said so after all.
    pub(super) fn override_origin(&mut self, key: &str, value: String) {
        self.origins.retain(|origin| origin.key != key);
        self.origin(key.to_owned(), value, Place::Argument);
    }
}

/// One table while its keys are taken out; what is left at the end nobody knows.
pub(super) struct Fields<'a> {
    pub(super) table: &'a Table,
    /// How a message calls the table.
    pub(super) title: &'a str,
    /// What stands before a key in its origin.
    pub(super) prefix: String,
    pub(super) asked: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(table: &'a Table, title: &'a str, prefix: &str) -> Self {
        Self {
            table,
            title,
            prefix: prefix.to_owned(),
            asked: Vec::new(),
        }
    }

    pub(super) fn take(&mut self, key: &'static str) -> Option<&'a Node> {
        assert!(!self.asked.contains(&key));
        self.asked.push(key);
        self.table.find(key).map(|entry| &entry.node)
    }

    pub(super) fn value<T>(
        &mut self,
        reading: &mut Reading<'_>,
        key: &'static str,
        default: T,
        parse: impl Fn(&Node) -> Result<T, Wrong>,
        show: impl Fn(&T) -> String,
    ) -> T {
        let (value, from) = match self.take(key).map(|node| (parse(node), &node.span)) {
            None => (default, Place::Default),
            Some((Ok(value), span)) => (value, reading.sources.place(span)),
            Some((Err(wrong), span)) => {
                reading.wrong(span, wrong);
                (default, Place::Default)
            }
        };
        reading.origin(format!("{}{key}", self.prefix), show(&value), from);
        value
    }

    pub(super) fn word<T: Copy + Default + PartialEq>(
        &mut self,
        reading: &mut Reading<'_>,
        key: &'static str,
        words: &[(&str, T)],
    ) -> T {
        let show = |value: &T| quote(word_of(words, value));
        self.value(
            reading,
            key,
            T::default(),
            |node| one_of(node, key, words),
            show,
        )
    }

    pub(super) fn duration(
        &mut self,
        reading: &mut Reading<'_>,
        key: &'static str,
        default: Duration,
        most: Duration,
    ) -> Duration {
        let parse = |node: &Node| parse_duration(string(node, "\"250ms\"")?, Duration::ZERO, most);
        self.value(reading, key, default, parse, |value| {
            quote(&show_duration(value))
        })
    }

    pub(super) fn size(
        &mut self,
        reading: &mut Reading<'_>,
        key: &'static str,
        default: u64,
        least_bytes: u64,
        most_bytes: u64,
    ) -> u64 {
        let parse = |node: &Node| parse_size(string(node, "\"8MiB\"")?, least_bytes, most_bytes);
        self.value(reading, key, default, parse, |value| {
            quote(&show_size(*value))
        })
    }

    /// A list whose every item is checked; the origin shows it as written.
    pub(super) fn list<T>(
        &mut self,
        reading: &mut Reading<'_>,
        key: &'static str,
        parse: impl Fn(&Node) -> Result<T, Wrong>,
    ) -> Vec<T> {
        let Some(node) = self.take(key) else {
            return Vec::new();
        };
        let Value::Array(items) = &node.value else {
            reading.wrong(&node.span, Wrong::kind(node, "a list", "[ … ]"));
            return Vec::new();
        };
        let mut values = Vec::new();
        for item in items {
            match parse(item) {
                Ok(value) => values.push(value),
                Err(wrong) => reading.wrong(&item.span, wrong),
            }
        }
        let written = reading.sources.text(&node.span).to_owned();
        let from = reading.sources.place(&node.span);
        reading.origin(format!("{}{key}", self.prefix), written, from);
        values
    }

    /// The tables of `[[key]]`, each with its place; what else stands there is reported, and what
    /// an item looks like is said as `example`.
    pub(super) fn tables(
        &mut self,
        reading: &mut Reading<'_>,
        key: &'static str,
        example: &str,
    ) -> Option<(&'a Node, Vec<(&'a Node, &'a Table)>)> {
        let node = self.take(key)?;
        let Value::Array(items) = &node.value else {
            let kind = node.value.kind();
            let wrong = Wrong::new(
                format!("`{key}` is {kind}, but {key}s are a list of tables"),
                format!("write [[{key}]] with two brackets on each side"),
            );
            reading.wrong(&node.span, wrong);
            return None;
        };
        let mut tables = Vec::new();
        for item in items {
            match &item.value {
                Value::Table(table) => tables.push((item, table)),
                _ => reading.wrong(&item.span, Wrong::kind(item, "a table", example)),
            }
        }
        Some((node, tables))
    }

    /// A table inside this one, read by `read`; an absent one is read as empty.
    pub(super) fn table<T>(
        &mut self,
        reading: &mut Reading<'_>,
        key: &'static str,
        title: &str,
        default: T,
        read: impl FnOnce(&mut Reading<'_>, &mut Fields<'_>) -> T,
    ) -> T {
        let empty = Table::default();
        let table = match self.take(key) {
            None => &empty,
            Some(Node {
                value: Value::Table(table),
                ..
            }) => table,
            Some(node) => {
                reading.wrong(
                    &node.span,
                    Wrong::kind(node, "a table", &format!("{key} = {{ … }}")),
                );
                return default;
            }
        };
        let mut fields = Fields::new(table, title, &format!("{}{key}.", self.prefix));
        let value = read(reading, &mut fields);
        fields.finish(reading);
        value
    }

    pub(super) fn finish(self, reading: &mut Reading<'_>) {
        for entry in &self.table.entries {
            let key = entry.key.as_str();
            if self.asked.contains(&key) {
                continue;
            }
            let hint = match nearest(key, &self.asked) {
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("the keys here are {}", self.asked.join(", ")),
            };
            let what = format!("unknown key `{key}` in {}", self.title);
            reading.wrong(&entry.key_span, Wrong::new(what, hint));
        }
    }
}
