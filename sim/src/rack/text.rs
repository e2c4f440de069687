//! The report as tables for people.

use std::fmt;

use super::{Report, Span};

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Published figures, and the same computed from the published parts"
        )?;
        let rows = self.published.iter().map(|figure| {
            [
                figure.name.to_owned(),
                figure.slide.to_string(),
                number(figure.published),
                number(figure.computed),
                figure.unit.to_owned(),
                format!("{:+.1}%", figure.deviation() * 100.0),
            ]
        });
        let header = ["FIGURE", "SLIDE", "PUBLISHED", "COMPUTED", "UNIT", "OFF BY"];
        table(f, &header, rows)?;

        writeln!(f, "\nA ring of {}", self.hosts)?;
        let rows = self.rings.iter().zip(1..).map(|(ring, index)| {
            [
                format!("{index} {}", ring.name),
                time(ring.timing.turn),
                time(ring.timing.rotation),
                number(ring.turns_per_s),
                number(ring.turns_per_host_per_s),
                time(ring.timing.agreed_at_author),
                time(ring.timing.agreed_elsewhere),
            ]
        });
        let header = [
            "RING",
            "TURN",
            "ROTATION",
            "TURNS/S",
            "OF EACH HOST",
            "AGREED AT AUTHOR",
            "ELSEWHERE",
        ];
        table(f, &header, rows)?;

        writeln!(
            f,
            "\nFrom taking a turn to its agreement at the author, by hosts"
        )?;
        let rings: Vec<_> = (1..=self.rings.len())
            .map(|index| index.to_string())
            .collect();
        let names = rings.iter().map(String::as_str);
        let header: Vec<_> = ["HOSTS"].into_iter().chain(names).collect();
        let rows = self.agreement.iter().map(|agreement| {
            let timings = agreement.timings.iter();
            let times = timings.map(|timing| time(timing.agreed_at_author));
            [agreement.hosts.to_string()]
                .into_iter()
                .chain(times)
                .collect::<Vec<_>>()
        });
        table(f, &header, rows)
    }
}

/// Columns as wide as their words, the first to the left and the others to the right.
fn table<R: AsRef<[String]>>(
    f: &mut fmt::Formatter<'_>,
    header: &[&str],
    rows: impl Iterator<Item = R>,
) -> fmt::Result {
    let rows: Vec<R> = rows.collect();
    let lengths = |column: usize| {
        rows.iter()
            .map(move |row| row.as_ref()[column].chars().count())
    };
    let widths: Vec<_> = header
        .iter()
        .enumerate()
        .map(|(column, name)| lengths(column).max().unwrap_or(0).max(name.chars().count()))
        .collect();
    let mut line = |cells: &[&str]| {
        let (first, others) = cells.split_first().expect("a table has columns");
        write!(f, "{first:<width$}", width = widths[0])?;
        for (cell, width) in others.iter().zip(&widths[1..]) {
            write!(f, "  {cell:>width$}")?;
        }
        writeln!(f)
    };
    line(header)?;
    for row in &rows {
        let cells: Vec<_> = row.as_ref().iter().map(String::as_str).collect();
        line(&cells)?;
    }
    Ok(())
}

/// With the unit that keeps it short.
pub(super) fn time(span: Span) -> String {
    let ns = span.as_ns();
    if ns >= 10_000.0 {
        format!("{:.1} µs", ns / 1e3)
    } else if ns >= 1000.0 {
        format!("{:.2} µs", ns / 1e3)
    } else {
        format!("{ns:.1} ns")
    }
}

/// Whole from a thousand on, else with the digits that tell.
fn number(value: f64) -> String {
    if value >= 1000.0 {
        let digits = format!("{value:.0}");
        let mut grouped = String::new();
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                grouped.push(',');
            }
            grouped.push(digit);
        }
        grouped
    } else if value.fract() == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_short() {
        assert_eq!(number(14.4), "14.40");
        assert_eq!(number(200.0), "200");
        assert_eq!(number(12_500.0), "12,500");
        assert_eq!(number(14_880_952.4), "14,880,952");
        assert_eq!(time(Span::ps(67_200)), "67.2 ns");
        assert_eq!(time(Span::ns(1170)), "1.17 µs");
        assert_eq!(time(Span::ns(80_000)), "80.0 µs");
    }
}
