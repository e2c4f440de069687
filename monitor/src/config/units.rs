//! Durations and sizes as people write them: "250ms", "8MiB". A number without a unit is refused.

use std::time::Duration;

use bytesize::ByteSize;

use super::values::{Wrong, nearest};

/// What a duration looks like, for the schema; `humantime` decides.
pub(super) const DURATION_PATTERN: &str = r"^(\s*[0-9]+(\.[0-9]+)?\s*[a-zµ]+)+$";

/// What a size looks like, for the schema; `bytesize` decides.
pub(super) const SIZE_PATTERN: &str = r"^[0-9]+(\.[0-9]+)?\s*[A-Za-z]+$";

const DURATION_UNITS: &[&str] = &["ns", "us", "ms", "s", "sec", "min", "h", "hours", "days"];

/// Binary units first: at equal distance they are the likelier wish.
const SIZE_UNITS: &[&str] = &["KiB", "MiB", "GiB", "B", "KB", "MB", "GB"];

/// Durations through serde.
pub(super) mod duration {
    use std::time::Duration;

    use serde::Serializer;

    pub(in super::super) fn serialize<S: Serializer>(
        value: &Duration,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_str(&super::show_duration(value))
    }
}

/// Sizes through serde.
pub(super) mod size {
    use serde::Serializer;

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde passes a reference"
    )]
    pub(in super::super) fn serialize<S: Serializer>(
        value: &u64,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_str(&super::show_size(*value))
    }
}

/// "5s".
pub(super) fn show_duration(value: &Duration) -> String {
    humantime::format_duration(*value).to_string()
}

/// "8MiB": the largest unit that divides it.
pub(super) fn show_size(value_bytes: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    units
        .iter()
        .find(|(_, shift)| value_bytes > 0 && value_bytes.is_multiple_of(1 << shift))
        .map_or_else(
            || format!("{value_bytes}B"),
            |(unit, shift)| format!("{}{unit}", value_bytes >> shift),
        )
}

/// Reads a duration between `least` and `most`.
pub(super) fn parse_duration(
    text: &str,
    least: Duration,
    most: Duration,
) -> Result<Duration, Wrong> {
    let value = humantime::parse_duration(text.trim()).map_err(|_| {
        wrong_unit(
            text,
            "duration",
            DURATION_UNITS,
            "a number with a unit, such as \"250ms\"",
        )
    })?;
    if value < least || value > most {
        return Err(Wrong::new(
            format!("\"{text}\" is out of bounds"),
            format!("give {} to {}", show_duration(&least), show_duration(&most)),
        ));
    }
    Ok(value)
}

/// Reads a size that is a power of two between `least_bytes` and `most_bytes`.
pub(super) fn parse_size(text: &str, least_bytes: u64, most_bytes: u64) -> Result<u64, Wrong> {
    let has_unit = text
        .trim_end()
        .ends_with(|last: char| last.is_ascii_alphabetic());
    let value_bytes = match text.trim().parse::<ByteSize>() {
        Ok(value) if has_unit => value.as_u64(),
        _ => {
            let example = "a number with a unit, such as \"8MiB\"";
            return Err(wrong_unit(text, "size", SIZE_UNITS, example));
        }
    };
    if value_bytes < least_bytes || value_bytes > most_bytes {
        return Err(Wrong::new(
            format!("\"{text}\" is out of bounds"),
            format!(
                "give {} to {}",
                show_size(least_bytes),
                show_size(most_bytes)
            ),
        ));
    }
    if !value_bytes.is_power_of_two() {
        // Both bounds are powers of two, so both neighbours lie within them.
        let above = value_bytes.next_power_of_two();
        let (below, above) = (show_size(above / 2), show_size(above));
        return Err(Wrong::new(
            format!("\"{text}\" is not a power of two"),
            format!("give \"{below}\" or \"{above}\""),
        ));
    }
    Ok(value_bytes)
}

/// Tells a missing unit from a misspelt one and from something else altogether.
fn wrong_unit(text: &str, thing: &str, units: &[&str], example: &str) -> Wrong {
    let is_numeric = |c: char| c.is_ascii_digit() || c == '.' || c.is_whitespace();
    let unit = text.trim().trim_start_matches(is_numeric);
    let starts_with_digit = text.trim().starts_with(|c: char| c.is_ascii_digit());
    let is_word = unit.chars().all(char::is_alphabetic);
    if starts_with_digit && unit.is_empty() {
        return Wrong::new(
            format!("\"{text}\" has no unit"),
            format!("write {example}"),
        );
    }
    if starts_with_digit && is_word {
        let number = &text.trim()[..text.trim().len() - unit.len()];
        return Wrong::new(
            format!("\"{unit}\" is not a unit of {thing}"),
            match nearest(unit, units) {
                Some(likely) => format!("did you mean \"{}{likely}\"?", number.trim_end()),
                None => format!("use one of {}", units.join(", ")),
            },
        );
    }
    Wrong::new(
        format!("\"{text}\" is not a {thing}"),
        format!("write {example}"),
    )
}
