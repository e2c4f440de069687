//! Plans as text: what a person writes to tell a story, and what a failing schedule is shrunk to.
//!
//! One line says one thing; `docs/testing.md` lists them. Whatever a line does not say is as in
//! [`Plan::calm`]. Writing a plan and reading it again gives the same plan.

use core::fmt::{self, Write as _};
use core::str::SplitWhitespace;

use libexo::engine::Stage;
use libexo::wire::auth::Mode;

use crate::plan::{Clock, Plan};
use crate::step::{Act, Expect, FOREVER, HOSTS_MAX, Hosts, Step, letter};

/// Bytes of a message when a line does not say how many.
const BYTES: usize = 20;
/// Most steps of one `every` line.
const EVERY_MAX: u64 = 100_000;

/// A line that is not understood.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct ScenarioError {
    /// Which line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: String,
}

/// Reads a scenario.
///
/// # Errors
///
/// The first line that is not understood.
pub fn parse(text: &str) -> Result<Plan, ScenarioError> {
    let mut plan: Option<Plan> = None;
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = Words(line.split_whitespace());
        let Some(word) = words.0.next() else {
            continue;
        };
        let wrong = |what| ScenarioError {
            line: index + 1,
            what,
        };
        match &mut plan {
            None => plan = Some(first_line(word, &mut words).map_err(wrong)?),
            Some(plan) => plan.read_line(word, &mut words).map_err(wrong)?,
        }
        if let Some(word) = words.0.next() {
            return Err(wrong(format!("{word:?} is one word too many")));
        }
    }
    let mut plan = plan.ok_or_else(|| ScenarioError {
        line: 1,
        what: "nothing is here; begin with `hosts 3`".to_owned(),
    })?;
    plan.steps.sort_by_key(|step| step.at);
    Ok(plan)
}

type Read<T> = Result<T, String>;

fn first_line(word: &str, words: &mut Words<'_>) -> Read<Plan> {
    let hosts = words.number("how many hosts")?;
    match usize::try_from(hosts) {
        Ok(hosts) if word == "hosts" && (1..=HOSTS_MAX).contains(&hosts) => Ok(Plan::calm(hosts)),
        _ => Err(format!("begin with `hosts` and a number up to {HOSTS_MAX}")),
    }
}

impl Plan {
    fn read_line(&mut self, word: &str, words: &mut Words<'_>) -> Read<()> {
        match word {
            "seed" => self.seed = words.number("a seed")?,
            "end" => self.end = words.span()?,
            "delay" => self.delay = words.span_to_span()?,
            "sync" => self.sync = words.span_to_span()?,
            "loss" => self.loss = words.number("frames of 1000")?,
            "duplicate" => self.duplication = words.number("frames of 1000")?,
            "corrupt" => self.corruption = words.number("frames of 1000")?,
            "listeners" => {
                let listeners = words.size_of("hosts that only listen")?;
                if listeners >= self.hosts {
                    return Err("one of the hosts has to vote".to_owned());
                }
                self.listeners = listeners;
            }
            "journal" => self.has_journal = true,
            "tagged" => self.mode = Mode::Tagged,
            "encrypted" => self.mode = Mode::Encrypted,
            "forgets-too-much" => self.forgets_too_much = true,
            "clock" => {
                let host = words.host(self.hosts)?;
                words.literal("from")?;
                let start = words.span()?;
                words.literal("at")?;
                let percent = words.number("a percentage")?;
                self.clocks[host] = Clock { start, percent };
            }
            "turn-bytes" => self.params.turn_bytes_max = words.size()?,
            "retain-bytes" => self.params.retain_bytes = words.size()?,
            "receive-bytes" => self.params.receive_bytes = words.size()?,
            "early-bytes" => self.params.early_bytes_max = words.size()?,
            "frame-bytes" => self.params.frame_bytes_max = words.size()?,
            "join-window" => self.params.join_window = words.number("positions")?,
            "level" => {
                self.params.level = match words.word("a level")? {
                    "agreed" => Stage::Agreed,
                    "durable" => Stage::Durable,
                    "safe" => Stage::Safe,
                    other => return Err(format!("{other:?} is no level")),
                };
            }
            "at" => {
                let at = words.span()?;
                let act = words.act(self.hosts)?;
                self.steps.push(Step { at, act });
            }
            "every" => self.read_every(words)?,
            "finally" => {
                words.literal("expect")?;
                self.finally.push(words.expect(self.hosts)?);
            }
            other => return Err(format!("nothing is called {other:?}")),
        }
        Ok(())
    }

    /// `every 10ms from 1s to 2s ...`: the same act again and again.
    fn read_every(&mut self, words: &mut Words<'_>) -> Read<()> {
        let each = words.span()?;
        words.literal("from")?;
        let from = words.span()?;
        words.literal("to")?;
        let to = words.span()?;
        let act = words.act(self.hosts)?;
        if each == 0 || to < from || (to - from) / each > EVERY_MAX {
            return Err(format!("that is nothing, or more than {EVERY_MAX} times"));
        }
        let count = (to - from) / each;
        let steps = (0..=count).map(|index| Step {
            at: from + index * each,
            act: act.clone(),
        });
        self.steps.extend(steps);
        Ok(())
    }
}

/// The words of a line that are left.
struct Words<'a>(SplitWhitespace<'a>);

impl<'a> Words<'a> {
    fn word(&mut self, what: &str) -> Read<&'a str> {
        self.0.next().ok_or_else(|| format!("{what} is missing"))
    }

    fn literal(&mut self, expected: &str) -> Read<()> {
        let word = self.word(expected)?;
        if word == expected {
            return Ok(());
        }
        Err(format!("{word:?} stands where `{expected}` belongs"))
    }

    fn number(&mut self, what: &str) -> Read<u64> {
        let word = self.word(what)?;
        let number = word.parse();
        number.map_err(|_| format!("{word:?} is no number ({what})"))
    }

    fn size(&mut self) -> Read<usize> {
        self.size_of("bytes")
    }

    fn size_of(&mut self, what: &str) -> Read<usize> {
        let number = self.number(what)?;
        usize::try_from(number).map_err(|_| format!("{number} are too many ({what})"))
    }

    /// `10us`, `1ms`, `2s`.
    fn span(&mut self) -> Read<u64> {
        let word = self.word("a time")?;
        let digits = word.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
        let unit = UNITS
            .iter()
            .find(|(name, _)| *name == &word[digits.len()..]);
        let number = digits.parse::<u64>().ok();
        let span = unit.and_then(|(_, unit)| number?.checked_mul(*unit));
        span.ok_or_else(|| format!("{word:?} is no time such as 10us, 1ms or 2s"))
    }

    /// ` for 2s`, or nothing: until healing.
    fn for_span(&mut self) -> Read<u64> {
        let mut ahead = self.0.clone();
        if ahead.next().is_none() {
            return Ok(FOREVER);
        }
        self.literal("for")?;
        self.span()
    }

    fn each(&mut self) -> Read<u64> {
        self.literal("each")?;
        self.span()
    }

    fn span_to_span(&mut self) -> Read<(u64, u64)> {
        let least = self.span()?;
        self.literal("to")?;
        let most = self.span()?;
        if least < most {
            return Ok((least, most));
        }
        Err("the second time has to be the longer one".to_owned())
    }

    fn hosts(&mut self, count: usize) -> Read<Hosts> {
        let word = self.word("a host")?;
        let index = |letter: char| ('A'..='Z').position(|known| known == letter);
        let hosts: Option<Vec<_>> = word
            .chars()
            .map(|letter| index(letter).filter(|host| *host < count))
            .collect();
        let hosts = hosts.ok_or_else(|| format!("{word:?} are no letters of hosts"))?;
        Ok(hosts.into_iter().collect())
    }

    fn host(&mut self, count: usize) -> Read<usize> {
        let hosts = self.hosts(count)?;
        let mut each = hosts.iter();
        match (each.next(), each.next()) {
            (Some(host), None) => Ok(host),
            _ => Err(format!("{hosts} is not one host")),
        }
    }

    fn act(&mut self, hosts: usize) -> Read<Act> {
        let word = self.word("what is done")?;
        Ok(match word {
            "submit" => {
                let host = self.host(hosts)?;
                let label = self.0.next().filter(|label| *label != "-");
                let label = label.map(str::to_owned);
                let bytes = match self.0.clone().next() {
                    Some(_) => self.size()?,
                    None => BYTES,
                };
                Act::Submit { host, bytes, label }
            }
            "forget" => Act::Forget {
                host: self.host(hosts)?,
                span: self.for_span()?,
            },
            "crash" => Act::Crash {
                hosts: self.hosts(hosts)?,
                span: self.for_span()?,
            },
            "pause" => Act::Pause {
                host: self.host(hosts)?,
                span: self.for_span()?,
            },
            "slow" => Act::Slow {
                host: self.host(hosts)?,
                each: self.each()?,
                span: self.for_span()?,
            },
            "partition" => {
                let mut sides = vec![self.hosts(hosts)?];
                while self.0.clone().next() == Some("|") {
                    self.literal("|")?;
                    sides.push(self.hosts(hosts)?);
                }
                let span = self.for_span()?;
                Act::Partition { sides, span }
            }
            "cut" => {
                let from = self.hosts(hosts)?;
                self.literal(">")?;
                let to = self.hosts(hosts)?;
                let span = self.for_span()?;
                Act::Cut { from, to, span }
            }
            "flap" => {
                let (a, b) = (self.host(hosts)?, self.host(hosts)?);
                self.literal("times")?;
                let times = self.number("how often")?;
                let each = self.each()?;
                Act::Flap { a, b, times, each }
            }
            "leave" => Act::Leave {
                host: self.host(hosts)?,
                span: self.for_span()?,
            },
            "slow-disk" => Act::SlowDisk {
                host: self.host(hosts)?,
                each: self.each()?,
                span: self.for_span()?,
            },
            "disk-error" => Act::DiskError {
                host: self.host(hosts)?,
                span: self.for_span()?,
            },
            "clock-rate" => Act::ClockRate {
                host: self.host(hosts)?,
                percent: self.number("a percentage")?,
                span: self.for_span()?,
            },
            "clock-jump" => Act::ClockJump {
                host: self.host(hosts)?,
                by: self.span()?,
            },
            "mend" => Act::Mend,
            "expect" => Act::Expect(self.expect(hosts)?),
            other => return Err(format!("nobody can {other:?}")),
        })
    }

    fn expect(&mut self, hosts: usize) -> Read<Expect> {
        let word = self.word("what is expected")?;
        Ok(match word {
            "ring" => {
                let ring = self.hosts(hosts)?;
                self.literal("at")?;
                let at = self.hosts(hosts)?;
                Expect::Ring { ring, at }
            }
            "delivered" => {
                let (labels, at) = self.labels_at(hosts)?;
                Expect::Delivered { labels, at }
            }
            "missing" => {
                let (labels, at) = self.labels_at(hosts)?;
                Expect::Missing { labels, at }
            }
            "halted" => Expect::Halted(self.hosts(hosts)?),
            "forgotten" => Expect::Forgotten(self.hosts(hosts)?),
            "gapless" => Expect::Gapless(self.hosts(hosts)?),
            other => return Err(format!("{other:?} cannot be expected")),
        })
    }

    fn labels_at(&mut self, hosts: usize) -> Read<(Vec<String>, Hosts)> {
        let mut labels = Vec::new();
        loop {
            match self.word("`at` and the hosts")? {
                "at" if !labels.is_empty() => return Ok((labels, self.hosts(hosts)?)),
                label => labels.push(label.to_owned()),
            }
        }
    }
}

const UNITS: [(&str, u64); 4] = [
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1000),
    ("ns", 1),
];

/// A time in the largest unit that says it without a fraction.
struct Span(u64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, unit): &&(&str, u64)| self.0.is_multiple_of(*unit);
        let (name, unit) = UNITS.iter().find(fits).unwrap_or(&UNITS[3]);
        write!(f, "{}{name}", self.0 / unit)
    }
}

/// How long something lasts; nothing if until healing.
struct For(u64);

impl fmt::Display for For {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            FOREVER => Ok(()),
            span => write!(f, " for {}", Span(span)),
        }
    }
}

/// A plan as a scenario: as read by [`parse`].
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let usual = Self::calm(self.hosts);
        writeln!(f, "hosts {}\nseed {}", self.hosts, self.seed)?;
        if self.listeners > 0 {
            writeln!(f, "listeners {}", self.listeners)?;
        }
        let (least, most) = self.delay;
        writeln!(f, "delay {} to {}", Span(least), Span(most))?;
        for (name, value) in [
            ("loss", self.loss),
            ("duplicate", self.duplication),
            ("corrupt", self.corruption),
        ] {
            if value > 0 {
                writeln!(f, "{name} {value}")?;
            }
        }
        if self.has_journal {
            let (least, most) = self.sync;
            writeln!(f, "journal\nsync {} to {}", Span(least), Span(most))?;
        } else if self.sync != usual.sync {
            writeln!(f, "sync {} to {}", Span(self.sync.0), Span(self.sync.1))?;
        }
        for (host, clock) in self.clocks.iter().enumerate() {
            if *clock != Clock::RIGHT {
                let (start, percent) = (Span(clock.start), clock.percent);
                writeln!(f, "clock {} from {start} at {percent}", letter(host))?;
            }
        }
        match self.mode {
            Mode::Open => {}
            Mode::Tagged => writeln!(f, "tagged")?,
            Mode::Encrypted => writeln!(f, "encrypted")?,
        }
        if self.forgets_too_much {
            writeln!(f, "forgets-too-much")?;
        }
        let (own, usual) = (&self.params, &usual.params);
        let sizes = |params: &libexo::engine::params::Params| {
            [
                ("turn-bytes", params.turn_bytes_max),
                ("retain-bytes", params.retain_bytes),
                ("receive-bytes", params.receive_bytes),
                ("early-bytes", params.early_bytes_max),
                ("frame-bytes", params.frame_bytes_max),
            ]
        };
        for (own, usual) in sizes(own).into_iter().zip(sizes(usual)) {
            if own != usual {
                writeln!(f, "{} {}", own.0, own.1)?;
            }
        }
        if own.join_window != usual.join_window {
            writeln!(f, "join-window {}", own.join_window)?;
        }
        match own.level {
            Stage::Durable => writeln!(f, "level durable")?,
            Stage::Safe => writeln!(f, "level safe")?,
            Stage::Tail | Stage::Agreed => {}
        }
        for step in &self.steps {
            writeln!(f, "at {} {}", Span(step.at), step.act)?;
        }
        writeln!(f, "end {}", Span(self.end))?;
        for expect in &self.finally {
            writeln!(f, "finally expect {expect}")?;
        }
        Ok(())
    }
}

/// As a scenario says it.
impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |host: &usize| letter(*host);
        match self {
            Self::Submit { host, bytes, label } => {
                let label = label.as_deref().unwrap_or("-");
                write!(f, "submit {} {label} {bytes}", name(host))
            }
            Self::Forget { host, span } => write!(f, "forget {}{}", name(host), For(*span)),
            Self::Crash { hosts, span } => write!(f, "crash {hosts}{}", For(*span)),
            Self::Pause { host, span } => write!(f, "pause {}{}", name(host), For(*span)),
            Self::Slow { host, each, span } => {
                write!(f, "slow {} each {}{}", name(host), Span(*each), For(*span))
            }
            Self::Partition { sides, span } => {
                let mut text = String::new();
                for (index, side) in sides.iter().enumerate() {
                    let between = if index > 0 { " | " } else { "" };
                    write!(text, "{between}{side}")?;
                }
                write!(f, "partition {text}{}", For(*span))
            }
            Self::Cut { from, to, span } => write!(f, "cut {from} > {to}{}", For(*span)),
            Self::Flap { a, b, times, each } => {
                let each = Span(*each);
                write!(f, "flap {} {} times {times} each {each}", name(a), name(b))
            }
            Self::Leave { host, span } => write!(f, "leave {}{}", name(host), For(*span)),
            Self::SlowDisk { host, each, span } => {
                let (each, span) = (Span(*each), For(*span));
                write!(f, "slow-disk {} each {each}{span}", name(host))
            }
            Self::DiskError { host, span } => {
                write!(f, "disk-error {}{}", name(host), For(*span))
            }
            Self::ClockRate {
                host,
                percent,
                span,
            } => write!(f, "clock-rate {} {percent}{}", name(host), For(*span)),
            Self::ClockJump { host, by } => write!(f, "clock-jump {} {}", name(host), Span(*by)),
            Self::Mend => f.write_str("mend"),
            Self::Expect(expect) => write!(f, "expect {expect}"),
        }
    }
}

/// As a scenario says it.
impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ring { ring, at } => write!(f, "ring {ring} at {at}"),
            Self::Delivered { labels, at } => write!(f, "delivered {} at {at}", labels.join(" ")),
            Self::Missing { labels, at } => write!(f, "missing {} at {at}", labels.join(" ")),
            Self::Halted(hosts) => write!(f, "halted {hosts}"),
            Self::Forgotten(hosts) => write!(f, "forgotten {hosts}"),
            Self::Gapless(hosts) => write!(f, "gapless {hosts}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for seed in 1..=300 {
            let plan = Plan::new(seed, None);
            let text = plan.to_string();
            assert_eq!(parse(&text).expect(&text), plan, "{text}");
        }
    }

    #[test]
    fn every_act_and_expectation_has_its_line() {
        let text = "hosts 3\nseed 1\ndelay 10us to 300us\n\
            at 1ms submit A m1 20\nat 2ms partition A | BC for 3ms\nat 3ms cut A > BC\n\
            at 4ms mend\nat 5ms expect ring AB at C\nat 6ms expect delivered m1 m2 at ABC\n\
            at 7ms expect missing m1 at B\nat 8ms expect halted A\nat 9ms expect forgotten B\n\
            at 10ms expect gapless ABC\nend 1s\nfinally expect delivered m1 at A\n";
        assert_eq!(parse(text).expect("it is understood").to_string(), text);
    }

    #[test]
    fn every_is_many_steps() {
        let text = "hosts 2\nevery 10ms from 1ms to 31ms submit B\n";
        let plan = parse(text).expect("it is understood");
        let at: Vec<_> = plan.steps.iter().map(|step| step.at / 1_000_000).collect();
        assert_eq!(at, [1, 11, 21, 31]);
    }

    #[test]
    fn a_line_that_is_not_understood_is_named() {
        for (text, line, what) in [
            ("", 1, "begin with"),
            ("loss 3", 1, "begin with"),
            ("hosts 27", 1, "up to 26"),
            ("hosts 3\nhosts 3", 2, "nothing is called"),
            ("hosts 3\n\nat 1 mend", 3, "no time"),
            ("hosts 3\nat 1s mend now", 2, "too many"),
            ("hosts 3\nat 1s pause D", 2, "no letters"),
            ("hosts 3\nat 1s pause AB", 2, "not one host"),
            ("hosts 3\nat 1s pause A to 3s", 2, "`for` belongs"),
            ("hosts 3\nat 1s cut A", 2, "missing"),
            ("hosts 3\ndelay 2ms to 1ms", 2, "longer"),
            ("hosts 3\nevery 0s from 1s to 2s mend", 2, "nothing"),
            ("hosts 3\nat 99999999999999s mend", 2, "no time"),
        ] {
            let error = parse(text).expect_err(text);
            assert_eq!(error.line, line, "{text}");
            assert!(error.what.contains(what), "{text}: {error}");
        }
    }
}
