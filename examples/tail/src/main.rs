//! Prints a group's datagrams in their order, through `libexo::client`.
//!
//! `exo-example-tail SOCKET GROUP:PORT [COUNT]`: attaches to the monitor at SOCKET, joins the
//! group, prints `SEQ SOURCE TEXT` for each datagram, and ends after COUNT of them if given.

use std::io::Write;
use std::net::SocketAddr;

use anyhow::{Context, Result};
use libexo::client::group::Group;
use libexo::client::session::Session;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: exo-example-tail SOCKET GROUP:PORT [COUNT]";
    let socket = arguments.next().context(usage)?;
    let address: SocketAddr = arguments
        .next()
        .context(usage)?
        .parse()
        .context("a group is ADDRESS:PORT, such as 239.1.2.3:5000")?;
    let count: Option<u64> = arguments
        .next()
        .map(|count| count.parse())
        .transpose()
        .context("COUNT is how many datagrams to print")?;
    let session = Session::attach(socket.as_bytes())
        .context("start a monitor first, for example with exo run -g GROUP:PORT -- PROGRAM")?;
    let group = Group::join(&session, address)?;
    let mut output = std::io::stdout().lock();
    writeln!(std::io::stderr(), "joined {address}")?;
    let mut bytes = vec![0; 65_536];
    let mut printed = 0;
    while count.is_none_or(|count| printed < count) {
        let received = group.receive(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes[..received.len.min(bytes.len())]);
        writeln!(output, "{} {} {text}", received.seq.0, received.source)?;
        output.flush()?;
        printed += 1;
    }
    Ok(())
}
