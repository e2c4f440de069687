//! What one probe says: the payload of a frame of kind `PROBE` (a question) or `PROBE_ACK` (its
//! answer).
//!
//! ```text
//!        0       1        2          4        8         16       24          26      28
//! ECHO   1:u8 │ to all │ number:u16 │ survey:u32 │ zero …                                   ≥ 32 bytes
//! HEARD  2:u8 │ to all │ number:u16 │ survey:u32 │ heard at │ told at │ to one:u16 │ to all │ zero:u32
//! ASK    3:u8 │ zero   │ first:u16  │ zero …                               room for what answers it
//! ROWS   4:u8 │ count  │ first:u16  │ zero:u32   │ rows of 32 bytes
//! ```
//!
//! Little-endian. An answer is never longer than its question, so probes amplify nothing.

use libexo::ids::HostId;

/// Bytes of an ECHO at least, and of a HEARD.
pub(super) const ECHO_BYTES: usize = 32;
/// Bytes before the rows of a ROWS.
pub(super) const ROWS_HEAD_BYTES: usize = 8;
/// Bytes of a row.
pub(super) const ROW_BYTES: usize = 32;

/// What a host asks another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Question {
    /// Do you hear this?
    Echo(Echo),
    /// What did you measure? The rows from `first` on; a host that has none measures now.
    Ask {
        /// How many rows the asker has.
        first: u16,
    },
}

/// One probe of a survey.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Echo {
    /// Which survey of the asker.
    pub(super) survey: u32,
    /// Its number there, from 0.
    pub(super) number: u16,
    /// Whether it went to all hosts at once.
    pub(super) to_all: bool,
}

/// The answer to an [`Echo`]. Times are nanoseconds since 1970 on the clock of who answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Heard {
    /// What was heard.
    pub(super) echo: Echo,
    /// When it came.
    pub(super) heard_at: u64,
    /// When this answer went.
    pub(super) told_at: u64,
    /// How many echoes to this host alone came in this survey.
    pub(super) to_one: u16,
    /// How many echoes to all.
    pub(super) to_all: u16,
}

/// What a host answers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Answer {
    /// To an [`Echo`].
    Heard(Heard),
    /// To a [`Question::Ask`].
    Rows {
        /// Number of the first.
        first: u16,
        /// As many as the question had room for.
        rows: Vec<Row>,
    },
}

/// What one host measured towards another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Row {
    /// The other.
    pub(super) host: HostId,
    /// Whether its TCP port answers; `None`: not tried.
    pub(super) tcp: Option<bool>,
    /// Datagrams sent to it alone.
    pub(super) sent: u8,
    /// Of them, as many came, as it says.
    pub(super) heard: u8,
    /// And as many answers came back.
    pub(super) answered: u8,
    /// Datagrams sent to all hosts at once.
    pub(super) sent_to_all: u8,
    /// Of them, as many came there.
    pub(super) heard_to_all: u8,
    /// Longest frame that was tried, bytes.
    pub(super) tried: u16,
    /// Longest that was answered, bytes; 0: none.
    pub(super) largest: u16,
    /// Median time there and back.
    pub(super) rtt_ns: u32,
    /// Longest time there and back.
    pub(super) rtt_max_ns: u32,
    /// The other's clock is so far ahead.
    pub(super) skew_ns: i64,
}

impl Question {
    /// Its bytes, `len` of them if it is not longer by itself.
    pub(super) fn emit(&self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len.max(ECHO_BYTES));
        let least = match self {
            Self::Echo(echo) => {
                echo.emit(1, &mut bytes);
                ECHO_BYTES
            }
            Self::Ask { first } => {
                bytes.extend_from_slice(&[3, 0]);
                bytes.extend_from_slice(&first.to_le_bytes());
                ROWS_HEAD_BYTES
            }
        };
        bytes.resize(len.max(least), 0);
        bytes
    }

    /// A question; `None` for what is none.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        Some(match rest.first()? {
            1 if bytes.len() >= ECHO_BYTES => Self::Echo(Echo::parse(&mut rest)?),
            3 if bytes.len() >= ROWS_HEAD_BYTES => {
                let [_, zero, low, high] = take(&mut rest)?;
                let first = u16::from_le_bytes([low, high]);
                (zero == 0).then_some(Self::Ask { first })?
            }
            _ => return None,
        })
    }
}

impl Echo {
    fn emit(self, kind: u8, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&[kind, u8::from(self.to_all)]);
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.extend_from_slice(&self.survey.to_le_bytes());
    }

    fn parse(rest: &mut &[u8]) -> Option<Self> {
        let [_, to_all, low, high] = take(rest)?;
        Some(Self {
            to_all: flag(to_all)?,
            number: u16::from_le_bytes([low, high]),
            survey: u32::from_le_bytes(take(rest)?),
        })
    }
}

impl Answer {
    /// Its bytes.
    pub(super) fn emit(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self {
            Self::Heard(heard) => {
                heard.echo.emit(2, &mut bytes);
                bytes.extend_from_slice(&heard.heard_at.to_le_bytes());
                bytes.extend_from_slice(&heard.told_at.to_le_bytes());
                bytes.extend_from_slice(&heard.to_one.to_le_bytes());
                bytes.extend_from_slice(&heard.to_all.to_le_bytes());
                bytes.extend_from_slice(&[0; 4]);
            }
            Self::Rows { first, rows } => {
                let count = u8::try_from(rows.len()).expect("a datagram holds fewer");
                bytes.extend_from_slice(&[4, count]);
                bytes.extend_from_slice(&first.to_le_bytes());
                bytes.extend_from_slice(&[0; 4]);
                rows.iter().for_each(|row| row.emit(&mut bytes));
            }
        }
        bytes
    }

    /// An answer; `None` for what is none.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        match rest.first()? {
            2 if bytes.len() == ECHO_BYTES => Some(Self::Heard(Heard {
                echo: Echo::parse(&mut rest)?,
                heard_at: u64::from_le_bytes(take(&mut rest)?),
                told_at: u64::from_le_bytes(take(&mut rest)?),
                to_one: u16::from_le_bytes(take(&mut rest)?),
                to_all: u16::from_le_bytes(take(&mut rest)?),
            })),
            4 => {
                let [_, count, low, high] = take(&mut rest)?;
                let zero: [u8; 4] = take(&mut rest)?;
                let count = usize::from(count);
                if zero != [0; 4] || rest.len() != count * ROW_BYTES {
                    return None;
                }
                let rows: Option<_> = (0..count).map(|_| Row::parse(&mut rest)).collect();
                let first = u16::from_le_bytes([low, high]);
                Some(Self::Rows { first, rows: rows? })
            }
            _ => None,
        }
    }
}

impl Row {
    /// Rows that fit into an answer of `bytes`.
    pub(super) fn room(bytes: usize) -> usize {
        let rows = bytes.saturating_sub(ROWS_HEAD_BYTES) / ROW_BYTES;
        rows.min(usize::from(u8::MAX))
    }

    fn emit(&self, bytes: &mut Vec<u8>) {
        let tcp = match self.tcp {
            None => 0,
            Some(false) => 1,
            Some(true) => 2,
        };
        let (to_one, to_all) = (
            [self.sent, self.heard, self.answered],
            [self.sent_to_all, self.heard_to_all],
        );
        bytes.extend_from_slice(&[self.host.0, tcp]);
        bytes.extend_from_slice(&to_one);
        bytes.extend_from_slice(&to_all);
        bytes.push(0);
        bytes.extend_from_slice(&self.tried.to_le_bytes());
        bytes.extend_from_slice(&self.largest.to_le_bytes());
        bytes.extend_from_slice(&self.rtt_ns.to_le_bytes());
        bytes.extend_from_slice(&self.rtt_max_ns.to_le_bytes());
        bytes.extend_from_slice(&self.skew_ns.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
    }

    fn parse(rest: &mut &[u8]) -> Option<Self> {
        let [
            host,
            tcp,
            sent,
            heard,
            answered,
            sent_to_all,
            heard_to_all,
            zero,
        ] = take(rest)?;
        let row = Self {
            host: HostId(host),
            tcp: match tcp {
                0 => None,
                1 => Some(false),
                2 => Some(true),
                _ => return None,
            },
            sent,
            heard,
            answered,
            sent_to_all,
            heard_to_all,
            tried: u16::from_le_bytes(take(rest)?),
            largest: u16::from_le_bytes(take(rest)?),
            rtt_ns: u32::from_le_bytes(take(rest)?),
            rtt_max_ns: u32::from_le_bytes(take(rest)?),
            skew_ns: i64::from_le_bytes(take(rest)?),
        };
        let end: [u8; 4] = take(rest)?;
        let is_possible = heard <= sent
            && answered <= sent
            && heard_to_all <= sent_to_all
            && row.largest <= row.tried
            && row.rtt_ns <= row.rtt_max_ns;
        (is_possible && zero == 0 && end == [0; 4]).then_some(row)
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*first)
}

const fn flag(byte: u8) -> Option<bool> {
    match byte {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn echo() -> impl Strategy<Value = Echo> {
        any::<(u32, u16, bool)>().prop_map(|(survey, number, to_all)| Echo {
            survey,
            number,
            to_all,
        })
    }

    fn row() -> impl Strategy<Value = Row> {
        let counts = (any::<u8>(), any::<u8>(), any::<u8>(), any::<u8>());
        let rest = any::<(u8, Option<bool>, u8, u16, u16, u32, u32, i64)>();
        (counts, rest).prop_map(|((sent, heard, answered, sent_to_all), rest)| Row {
            host: HostId(rest.0),
            tcp: rest.1,
            sent,
            heard: heard.min(sent),
            answered: answered.min(sent),
            sent_to_all,
            heard_to_all: rest.2.min(sent_to_all),
            tried: rest.3,
            largest: rest.4.min(rest.3),
            rtt_ns: rest.5.min(rest.6),
            rtt_max_ns: rest.6,
            skew_ns: rest.7,
        })
    }

    proptest! {
        #[test]
        fn questions_are_read_as_they_were_written(
            echo in echo(), first in any::<u16>(), len in 0_usize..2000,
        ) {
            for question in [Question::Echo(echo), Question::Ask { first }] {
                let bytes = question.emit(len);
                prop_assert!(bytes.len() >= len);
                prop_assert_eq!(Question::parse(&bytes), Some(question));
            }
        }

        #[test]
        fn answers_are_read_as_they_were_written(
            echo in echo(),
            numbers in any::<(u64, u64, u16, u16)>(),
            first in any::<u16>(),
            rows in proptest::collection::vec(row(), 0..40),
        ) {
            let (heard_at, told_at, to_one, to_all) = numbers;
            let heard = Answer::Heard(Heard { echo, heard_at, told_at, to_one, to_all });
            prop_assert_eq!(heard.emit().len(), ECHO_BYTES);
            let count = rows.len();
            let rows = Answer::Rows { first, rows };
            prop_assert_eq!(Row::room(rows.emit().len()), count);
            for answer in [heard, rows] {
                prop_assert_eq!(Answer::parse(&answer.emit()), Some(answer));
            }
        }

        #[test]
        fn nothing_else_is_read(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Some(question) = Question::parse(&bytes) {
                prop_assert!(matches!(bytes[0], 1 | 3), "{question:?}");
            }
            if let Some(answer) = Answer::parse(&bytes) {
                prop_assert!(answer.emit().len() == bytes.len(), "{answer:?}");
            }
        }

        #[test]
        fn a_row_that_claims_more_than_was_sent_is_refused(row in row()) {
            for wrong in [
                Row { heard: row.sent.saturating_add(1), ..row },
                Row { answered: row.sent.saturating_add(1), ..row },
                Row { heard_to_all: row.sent_to_all.saturating_add(1), ..row },
                Row { largest: row.tried.saturating_add(1), ..row },
            ] {
                let is_possible = wrong.heard <= wrong.sent
                    && wrong.answered <= wrong.sent
                    && wrong.heard_to_all <= wrong.sent_to_all
                    && wrong.largest <= wrong.tried;
                let bytes = Answer::Rows { first: 0, rows: vec![wrong] }.emit();
                prop_assert_eq!(Answer::parse(&bytes).is_some(), is_possible);
            }
        }
    }

    #[test]
    fn cut_packets_are_refused() {
        let echo = Echo {
            survey: 7,
            number: 1,
            to_all: true,
        };
        let question = Question::Echo(echo).emit(0);
        let ask = Question::Ask { first: 0 }.emit(0);
        for whole in [question, ask] {
            assert!((0..whole.len()).all(|len| Question::parse(&whole[..len]).is_none()));
        }
        let (heard_at, told_at) = (1, 2);
        let (to_one, to_all) = (3, 4);
        let heard = Answer::Heard(Heard {
            echo,
            heard_at,
            told_at,
            to_one,
            to_all,
        });
        let rows = vec![Row {
            host: HostId(1),
            tcp: Some(true),
            sent: 10,
            heard: 9,
            answered: 8,
            sent_to_all: 10,
            heard_to_all: 10,
            tried: 1472,
            largest: 1472,
            rtt_ns: 1,
            rtt_max_ns: 2,
            skew_ns: -3,
        }];
        for whole in [heard.emit(), Answer::Rows { first: 0, rows }.emit()] {
            assert!((0..whole.len()).all(|len| Answer::parse(&whole[..len]).is_none()));
        }
    }
}
