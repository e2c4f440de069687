//! What leaves the program: the same report as text for people or as a JSON document.
//!
//! Results go to standard output, everything else to standard error. A reader that closed the pipe
//! has seen enough; that is no error.

use std::fmt::Write as _;
use std::io::{self, Write};

use anyhow::Context;
use clap::builder::styling::{AnsiColor, Style};
use comfy_table::{ContentArrangement, Table, TableStyle};
use serde::Serialize;

/// Where and how a command prints.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether programs read along; then nothing but documents goes to standard output.
    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// Prints the whole result of a command: a report that names its schema, such as
    /// `exo.status/1`, or the same as `text`.
    ///
    /// # Errors
    ///
    /// Standard output cannot be written.
    pub(crate) fn report<R: Serialize>(
        self,
        report: &R,
        text: impl FnOnce() -> String,
    ) -> anyhow::Result<()> {
        let mut text = if self.json {
            serde_json::to_string_pretty(report).context("cannot write the report as JSON")?
        } else {
            text()
        };
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        self.result(&text)
    }

    /// Prints text that is the result, whatever its form.
    ///
    /// # Errors
    ///
    /// Standard output cannot be written.
    pub(crate) fn result(self, text: &str) -> anyhow::Result<()> {
        let mut stdout = anstream::stdout().lock();
        match stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush())
        {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written.context("cannot write to standard output; check where it leads"),
        }
    }

    /// Tells people something that is not the result.
    pub(crate) fn note(self, text: &str) {
        // Nobody is left to be told when standard error is gone.
        let _ = writeln!(anstream::stderr().lock(), "exo: {text}");
    }
}

/// A time in microseconds, cut to tenths, without its unit.
pub(crate) fn micros(ns: u64) -> String {
    format!("{}.{}", ns / 1000, ns % 1000 / 100)
}

/// How good a finding is; colours it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// As it should be.
    Ok,
    /// Works, but not as one would wish.
    Warn,
    /// Does not work.
    Fail,
}

impl Level {
    /// One short word in its colour; `anstream` takes the colour away where it does not belong.
    pub(crate) fn painted(self) -> String {
        let (word, color) = match self {
            Self::Ok => ("ok", AnsiColor::Green),
            Self::Warn => ("warn", AnsiColor::Yellow),
            Self::Fail => ("fail", AnsiColor::Red),
        };
        let style = Style::new().fg_color(Some(color.into()));
        format!("{style}{word:<4}{style:#}")
    }
}

/// A table without lines, as wide as its words: easy to read and to cut.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: Vec<[String; N]>) -> String {
    let mut table = Table::new();
    table
        .load_style(TableStyle::new())
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header.to_vec());
    for row in rows {
        table.add_row(row.map(|cell| plain(&cell)).to_vec());
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let mut text = String::new();
    for line in table.lines() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// "1 group", "2 groups".
pub(crate) fn counted(count: usize, noun: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{ending}")
}

/// A name that somebody else chose, without what a terminal would obey.
pub(crate) fn plain(name: &str) -> String {
    name.replace(char::is_control, "?")
}

/// "8MiB", "512KiB", "17B": for people.
pub(crate) fn bytes(count: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    for (unit, shift) in units {
        if count >= 1 << shift {
            let whole = count >> shift;
            let tenth = ((count & ((1 << shift) - 1)) * 10) >> shift;
            let fraction = if tenth == 0 {
                String::new()
            } else {
                format!(".{tenth}")
            };
            return format!("{whole}{fraction}{unit}");
        }
    }
    format!("{count}B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_as_wide_as_their_words_and_obey_nobody() {
        let rows = vec![
            ["1".to_owned(), "x".to_owned()],
            ["1000".to_owned(), "\u{1b}[2Jy".to_owned()],
        ];
        assert_eq!(
            table(["PID", "NAME"], rows),
            "PID   NAME\n1     x\n1000  ?[2Jy\n"
        );
    }

    #[test]
    fn sizes_have_at_most_one_digit_of_fraction() {
        assert_eq!(bytes(17), "17B");
        assert_eq!(bytes(8 << 20), "8MiB");
        assert_eq!(bytes((1 << 20) + (1 << 19)), "1.5MiB");
        assert_eq!(bytes(u64::MAX), "17179869183.9GiB");
    }
}
