//! Which faults, as text: `loss=5%,dup=1%,reorder=2%,delay=1ms..3ms,corrupt=0.1%,cut=2>3`.

use core::str::FromStr;
use core::time::Duration;

use crate::ids::HostId;

/// Parts of a million.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Rate(pub(super) u32);

/// Faults that a network is to have. The default has none.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Faults {
    /// Frames that disappear.
    pub loss: Rate,
    /// Frames that arrive twice.
    pub dup: Rate,
    /// Frames that let the next one of the same host pass.
    pub reorder: Rate,
    /// Frames in which one bit is another.
    pub corrupt: Rate,
    /// Shortest and longest delay; each frame has its own, so a wide range reorders, too.
    pub delay: Option<(Duration, Duration)>,
    /// Directions that carry nothing: from, to.
    pub cuts: Vec<(HostId, HostId)>,
}

const NAMES: &str = "loss, dup, reorder, delay, corrupt or cut";

/// What could not be read, and what could have stood there.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FaultsError {
    /// Not `name=value`.
    #[error("{word:?} is not a fault: write a name, \"=\" and a value; the names are {NAMES}")]
    NoValue {
        /// The word.
        word: String,
    },
    /// No such fault.
    #[error("unknown fault {name:?}: use {NAMES}")]
    Name {
        /// The name.
        name: String,
    },
    /// A value that the fault does not take.
    #[error("{name} cannot be {value:?}: use {allowed}")]
    Value {
        /// The fault.
        name: &'static str,
        /// What it was given.
        value: String,
        /// What it takes.
        allowed: &'static str,
    },
    /// The same fault twice.
    #[error("{name} is given twice: leave one (only cut may repeat)")]
    Twice {
        /// The fault.
        name: &'static str,
    },
}

impl FromStr for Faults {
    type Err = FaultsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut faults = Self::default();
        let mut seen: Vec<&'static str> = Vec::new();
        if text.trim().is_empty() {
            return Ok(faults);
        }
        for word in text.split(',').map(str::trim) {
            let (name, value) = word.split_once('=').ok_or_else(|| FaultsError::NoValue {
                word: word.to_owned(),
            })?;
            let name = faults.set(name.trim(), value.trim())?;
            if name != "cut" && seen.contains(&name) {
                return Err(FaultsError::Twice { name });
            }
            seen.push(name);
        }
        Ok(faults)
    }
}

impl Faults {
    fn set(&mut self, name: &str, value: &str) -> Result<&'static str, FaultsError> {
        let refuse = |name, allowed| FaultsError::Value {
            name,
            value: value.to_owned(),
            allowed,
        };
        let rate = |name| {
            parse_rate(value)
                .ok_or_else(|| refuse(name, "a percentage from 0% to 100%, such as 0.1%"))
        };
        Ok(match name {
            "loss" => {
                self.loss = rate("loss")?;
                "loss"
            }
            "dup" => {
                self.dup = rate("dup")?;
                "dup"
            }
            "reorder" => {
                self.reorder = rate("reorder")?;
                "reorder"
            }
            "corrupt" => {
                self.corrupt = rate("corrupt")?;
                "corrupt"
            }
            "delay" => {
                let allowed = "a time or two, up to an hour, such as 500us or 1ms..3ms";
                self.delay = Some(parse_delay(value).ok_or_else(|| refuse("delay", allowed))?);
                "delay"
            }
            "cut" => {
                let allowed = "two different host numbers from 0 to 255, such as 2>3";
                self.cuts
                    .push(parse_cut(value).ok_or_else(|| refuse("cut", allowed))?);
                "cut"
            }
            _ => {
                return Err(FaultsError::Name {
                    name: name.to_owned(),
                });
            }
        })
    }
}

/// "0.1%" in parts of a million: up to four digits behind the point.
fn parse_rate(text: &str) -> Option<Rate> {
    let number = text.strip_suffix('%')?;
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let is_number =
        |digits: &str| !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    if !is_number(whole) || !is_number(part) || part.len() > 4 {
        return None;
    }
    let whole = whole.parse::<u32>().ok().filter(|whole| *whole <= 100)?;
    let part = format!("{part:0<4}").parse::<u32>().ok()?;
    Some(Rate(whole * 10_000 + part)).filter(|rate| rate.0 <= 1_000_000)
}

fn parse_delay(text: &str) -> Option<(Duration, Duration)> {
    let (shortest, longest) = text.split_once("..").unwrap_or((text, text));
    let (shortest, longest) = (parse_time(shortest)?, parse_time(longest)?);
    (shortest <= longest).then_some((shortest, longest))
}

fn parse_time(text: &str) -> Option<Duration> {
    let at = text.find(|letter: char| !letter.is_ascii_digit())?;
    let number: u64 = text[..at].parse().ok()?;
    let unit_ns: u64 = match &text[at..] {
        "ns" => 1,
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        _ => return None,
    };
    let time = Duration::from_nanos(number.checked_mul(unit_ns)?);
    (time <= Duration::from_secs(3600)).then_some(time)
}

fn parse_cut(text: &str) -> Option<(HostId, HostId)> {
    let (from, to) = text.split_once('>')?;
    let (from, to) = (from.parse().ok()?, to.parse().ok()?);
    (from != to).then_some((HostId(from), HostId(to)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refusal(text: &str) -> String {
        text.parse::<Faults>()
            .expect_err("not a specification")
            .to_string()
    }

    #[test]
    fn specification_is_read() {
        let text = "loss=5%, dup=1%,reorder=2%,delay=1ms..3ms,corrupt=0.1%,cut=2>3,cut=3>2";
        let faults: Faults = text.parse().expect("as documented");
        let expected = Faults {
            loss: Rate(50_000),
            dup: Rate(10_000),
            reorder: Rate(20_000),
            corrupt: Rate(1_000),
            delay: Some((Duration::from_millis(1), Duration::from_millis(3))),
            cuts: vec![(HostId(2), HostId(3)), (HostId(3), HostId(2))],
        };
        assert_eq!(faults, expected);
        assert_eq!("".parse(), Ok(Faults::default()));
        let delay = "delay=500us".parse::<Faults>().expect("one time").delay;
        assert_eq!(
            delay,
            Some((Duration::from_micros(500), Duration::from_micros(500)))
        );
    }

    #[test]
    fn refusal_names_the_word_and_what_is_allowed() {
        assert_eq!(
            refusal("los=5%"),
            "unknown fault \"los\": use loss, dup, reorder, delay, corrupt or cut"
        );
        assert_eq!(
            refusal("loss=5"),
            "loss cannot be \"5\": use a percentage from 0% to 100%, such as 0.1%"
        );
        assert!(refusal("dup=1%,").starts_with("\"\" is not a fault"));
        assert!(refusal("delay=3ms..1ms").contains("1ms..3ms"));
        assert!(refusal("cut=1>1").contains("different"));
        assert!(refusal("loss=1%,loss=2%").contains("twice"));
    }

    #[test]
    fn rate_beyond_everything_is_refused() {
        assert_eq!(parse_rate("100%"), Some(Rate(1_000_000)));
        assert_eq!(parse_rate("0.0001%"), Some(Rate(1)));
        for text in [
            "100.1%",
            "101%",
            "-1%",
            "+1%",
            "1.%",
            ".5%",
            "0.00001%",
            "%",
            "99999999999%",
        ] {
            assert_eq!(parse_rate(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[a-z=%.,>0-9 é]{0,40}") {
            let _ = text.parse::<Faults>(); // that it ends is what counts
        }
    }
}
