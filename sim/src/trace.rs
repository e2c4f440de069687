//! One run for a person to read: a column for each host, a line for each thing that happens.

use libexo::ids::Epoch;
use libexo::wire::{Flags, Frame, Kind};

use crate::cluster::RING;
use crate::step::{HOSTS_MAX, letter};

/// Something that happened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Line {
    /// Virtual nanoseconds since the beginning.
    pub at: u64,
    /// At which host; `None`: to all, or to the network.
    pub host: Option<usize>,
    /// A frame or a delivery without a label: there are many.
    pub is_frame: bool,
    /// What.
    pub text: String,
}

/// Who is told what happens.
pub type Watch<'a> = &'a mut dyn FnMut(&Line);

const TIME_WIDTH: usize = 12;
const COLUMN_WIDTH: usize = 20;

/// The head of the table for so many hosts.
#[must_use]
pub fn head(hosts: usize) -> String {
    let mut text = format!("{:>TIME_WIDTH$}", "ms");
    for host in 0..hosts {
        text += &format!("  {:<COLUMN_WIDTH$}", letter(host));
    }
    text.trim_end().to_owned()
}

/// A line of the table.
#[must_use]
pub fn row(line: &Line) -> String {
    let ms = format!("{}.{:03}", line.at / 1_000_000, line.at / 1000 % 1000);
    match line.host {
        None => format!("{ms:>TIME_WIDTH$}  ── {}", line.text),
        Some(host) => {
            let before = host * (COLUMN_WIDTH + 2);
            format!("{ms:>TIME_WIDTH$}  {:before$}{}", "", line.text)
        }
    }
}

/// An epoch: its number and who founded it; `-` before the first.
pub(crate) fn epoch(epoch: Epoch) -> String {
    if epoch == Epoch(0) {
        return "-".to_owned();
    }
    let founder = usize::from(epoch.founder().0);
    let founder = if founder < HOSTS_MAX {
        letter(founder)
    } else {
        "?"
    };
    format!("{}{founder}", epoch.0 >> 8)
}

/// A frame that leaves.
pub(crate) fn sent(to: Option<usize>, bytes: &[u8]) -> String {
    let to = to.map_or(String::new(), |to| format!(" >{}", letter(to)));
    format!("{}{to}", describe(bytes))
}

/// A frame that arrives.
pub(crate) fn received(from: usize, bytes: &[u8]) -> String {
    format!("<{} {}", letter(from), describe(bytes))
}

fn describe(bytes: &[u8]) -> String {
    let Ok(Frame { header, .. }) = Frame::parse(bytes, RING) else {
        return "garbage".to_owned();
    };
    let name = match header.kind {
        Kind::Turn if header.flags.has(Flags::VIEW) => "view",
        Kind::Turn if header.flags.has(Flags::EMPTY) => "pass",
        Kind::Turn => "turn",
        Kind::Park => "park",
        Kind::Wake => "wake",
        Kind::Nack => "nack",
        Kind::Join => "join",
        Kind::Prepare => "prepare",
        Kind::Promise => "promise",
        Kind::Refuse => "refuse",
        Kind::Install => "install",
        Kind::Fetch => "fetch",
        Kind::Fetched => "fetched",
        Kind::Probe => "probe",
        Kind::ProbeAck => "ack",
        Kind::Base => "base",
    };
    let mut text = format!("{name} {} {}", header.seq.0, epoch(header.epoch));
    if header.parts > 1 {
        text += &format!(" {}/{}", header.part + 1, header.parts);
    }
    if header.flags.has(Flags::RTX) {
        text += " again";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_host_has_its_own_column() {
        let line = Line {
            at: 1_234_567_000,
            host: Some(1),
            is_frame: false,
            text: "halted".to_owned(),
        };
        let (head, row) = (head(3), row(&line));
        assert_eq!(head.find('B'), row.find("halted"));
        assert!(row.starts_with("    1234.567"));
    }
}
