//! The guarantees, checked delivery by delivery, in constant time each.
//!
//! One table says what stands at each place of the order and one what follows each place; every
//! host's deliveries must agree with both. So two hosts can neither order differently, nor can
//! one leave out what another has.

use std::collections::{BTreeMap, HashMap};

/// Who submitted a message: host, life of the host, number.
pub type Name = (u8, u64, u64);

/// A broken guarantee.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Broken {
    /// Which one.
    pub guarantee: &'static str,
    /// What was seen.
    pub seen: String,
}

/// One delivery, as a host reports it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Delivered {
    /// Its place in the order.
    pub seq: u64,
    /// The message.
    pub name: Name,
    /// Hash of its bytes and its group.
    pub hash: u64,
}

/// What one life of one host has delivered.
#[derive(Clone, Debug, Default)]
struct History {
    /// The last place; `None` at the beginning and after a gap.
    last: Option<u64>,
    /// The highest place ever.
    highest: u64,
    /// Last number of each sender's life since the beginning or the last gap.
    numbers: HashMap<(u8, u64), u64>,
}

/// All histories.
#[derive(Clone, Debug, Default)]
pub struct Checker {
    /// Of each message its hash, and the last place that its sender had delivered before.
    submitted: HashMap<Name, (u64, u64)>,
    at: BTreeMap<u64, (Name, u64)>,
    follows: HashMap<u64, u64>,
    placed: HashMap<Name, u64>,
    views: HashMap<u64, Vec<u8>>,
    histories: HashMap<(u8, u64), History>,
    deliveries: u64,
}

fn broken<T>(guarantee: &'static str, seen: String) -> Result<T, Broken> {
    Err(Broken { guarantee, seen })
}

impl Checker {
    /// A message was accepted.
    pub fn submitted(&mut self, name: Name, hash: u64) {
        let after = self.highest((name.0, name.1));
        self.submitted.insert(name, (hash, after));
    }

    /// Deliveries checked so far.
    #[must_use]
    pub const fn deliveries(&self) -> u64 {
        self.deliveries
    }

    /// The highest place that a life of a host has delivered.
    #[must_use]
    pub fn highest(&self, host: (u8, u64)) -> u64 {
        self.histories
            .get(&host)
            .map_or(0, |history| history.highest)
    }

    /// The highest place that anybody has delivered.
    #[must_use]
    pub fn last_place(&self) -> u64 {
        self.at.keys().next_back().copied().unwrap_or(0)
    }

    /// Whether anybody has delivered something from this place on, up to before that one.
    #[must_use]
    pub fn has_any(&self, from: u64, to: u64) -> bool {
        self.at.range(from..to).next().is_some()
    }

    /// Where a message stands in the order, if anybody has delivered it.
    #[must_use]
    pub fn place(&self, name: Name) -> Option<u64> {
        self.placed.get(&name).copied()
    }

    /// A life of a host missed messages, and said so.
    pub fn gap(&mut self, host: (u8, u64)) {
        let history = self.histories.entry(host).or_default();
        history.last = None;
        history.numbers.clear();
    }

    /// A life of a host delivered something.
    ///
    /// # Errors
    ///
    /// The guarantee that this breaks.
    pub fn delivered(&mut self, host: (u8, u64), it: Delivered) -> Result<(), Broken> {
        self.deliveries += 1;
        let Delivered { seq, name, hash } = it;
        match self.submitted.get(&name) {
            None => return broken("no creation", format!("{host:?} {it:?}")),
            Some((submitted, _)) if *submitted != hash => {
                return broken(
                    "integrity",
                    format!("{host:?} {it:?}, submitted {submitted:#x}"),
                );
            }
            Some((_, after)) if *after >= seq => {
                return broken(
                    "causal order",
                    format!("{host:?} {it:?}, sent after {after} was delivered"),
                );
            }
            Some(_) => {}
        }
        if let Some(known) = self.at.insert(seq, (name, hash))
            && known != (name, hash)
        {
            return broken("agreement", format!("{host:?} {it:?}, elsewhere {known:?}"));
        }
        if let Some(place) = self.placed.insert(name, seq)
            && place != seq
        {
            return broken(
                "no duplication",
                format!("{host:?} {it:?}, before at {place}"),
            );
        }
        let history = self.histories.entry(host).or_default();
        if seq <= history.highest {
            return broken(
                "total order",
                format!("{host:?} {it:?} after {}", history.highest),
            );
        }
        history.highest = seq;
        if let Some(last) = history.last.replace(seq) {
            let follower = *self.follows.entry(last).or_insert(seq);
            if follower != seq {
                return broken(
                    "no gaps",
                    format!("{host:?} {it:?} after {last}: {follower}"),
                );
            }
        }
        let number = history.numbers.insert((name.0, name.1), name.2);
        if number.is_some_and(|number| name.2 != number + 1) {
            return broken("sender order", format!("{host:?} {it:?} after {number:?}"));
        }
        Ok(())
    }

    /// A life of a host was told of members at a position.
    ///
    /// # Errors
    ///
    /// Others were told of different ones there.
    pub fn view(&mut self, host: (u8, u64), position: u64, members: &[u8]) -> Result<(), Broken> {
        let known = self
            .views
            .entry(position)
            .or_insert_with(|| members.to_vec());
        if known != members {
            return broken(
                "views",
                format!("{host:?} {members:?} at {position}, elsewhere {known:?}"),
            );
        }
        Ok(())
    }

    /// Every link of the chain is between neighbours of the table.
    ///
    /// # Errors
    ///
    /// Somebody delivered what stands between two places that followed each other elsewhere.
    pub fn finish(&self) -> Result<(), Broken> {
        for (last, next) in &self.follows {
            if let Some((between, what)) = self.at.range(last + 1..*next).next() {
                return broken(
                    "no gaps",
                    format!("{what:?} at {between}, between {last} and {next}"),
                );
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prng::Prng;

    /// Three hosts with the same 60 deliveries of three senders.
    fn histories() -> Vec<Vec<Delivered>> {
        let mut numbers = [0; 3];
        let mut prng = Prng::new(7);
        let one: Vec<_> = (1..=60)
            .map(|seq| {
                let sender = prng.index(3);
                numbers[sender] += 1;
                let name = (u8::try_from(sender).unwrap(), 1, numbers[sender]);
                Delivered {
                    seq,
                    name,
                    hash: seq * 31,
                }
            })
            .collect();
        vec![one; 3]
    }

    fn check(histories: &[Vec<Delivered>], truth: &[Delivered]) -> Result<(), Broken> {
        let mut checker = Checker::default();
        for it in truth {
            checker.submitted(it.name, it.hash);
        }
        for step in 0..truth.len() {
            for (host, history) in histories.iter().enumerate() {
                if let Some(it) = history.get(step) {
                    checker.delivered((u8::try_from(host).unwrap(), 1), *it)?;
                }
            }
        }
        checker.finish()
    }

    #[test]
    fn equal_histories_pass() {
        let histories = histories();
        check(&histories, &histories[0]).expect("nothing is wrong");
    }

    #[test]
    fn an_answer_before_what_it_answers_is_found() {
        let mut checker = Checker::default();
        let (question, answer) = ((0, 1, 1), (1, 1, 1));
        let at = |seq, name| Delivered { seq, name, hash: 5 };
        checker.submitted(question, 5);
        checker
            .delivered((1, 1), at(8, question))
            .expect("in order");
        checker.submitted(answer, 5);
        let found = checker.delivered((2, 1), at(7, answer));
        assert_eq!(
            found.expect_err("it stands before").guarantee,
            "causal order"
        );
    }

    #[test]
    fn every_planted_mistake_is_found() {
        let truth = histories();
        let mut prng = Prng::new(11);
        for round in 0..20_000 {
            let mut wrong = truth.clone();
            let host = prng.index(3);
            let at = prng.index(58) + 1;
            let history = &mut wrong[host];
            let kind = round % 6;
            match kind {
                // Two messages change places.
                0 => {
                    let (a, b) = (history[at], history[at + 1]);
                    history[at] = Delivered { seq: a.seq, ..b };
                    history[at + 1] = Delivered { seq: b.seq, ..a };
                }
                // One is left out (not at the end, where it may still come).
                1 => {
                    history.remove(at);
                }
                // One comes twice.
                2 => {
                    let again = history[at];
                    history.insert(at, again);
                }
                // Its bytes are altered.
                3 => history[at].hash ^= 1 << prng.below(64),
                // It is said to come from somebody else.
                4 => history[at].name.0 = (history[at].name.0 + 1) % 4,
                // It was never sent.
                _ => history[at].name.2 += 1000,
            }
            let found = check(&wrong, &truth[0]);
            found.expect_err(&format!("kind {kind} at {at} of host {host}"));
        }
    }
}
