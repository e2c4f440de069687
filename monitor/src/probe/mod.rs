//! Probing between the hosts of a ring, for `exo doctor`: beside the ring, never through it.
//!
//! ```text
//!  operator ─▶ control thread ─▶ responder ══ ECHO ══▶ responders of all other hosts
//!                       ▲            │    ══ ASK ═══▶ … who survey all others, too
//!                       └── report ◀─┴ HEARD, ROWS ═══
//! ```
//!
//! Probes are frames with a guard of their own ([`libexo::wire::auth::Guard::of_probes`]) on UDP
//! ports of their own, which for raw and TCP rings stand for the way between the same hosts. A host
//! answers whoever is a host of the ring, no longer than it was asked, and at most
//! [`responder::ANSWERS_MAX`] times a second; it surveys at most once a second, whoever asks.
//! Never here: the ring's own frames; what is wrong with them, `exo ring` says.

mod choice;
mod packet;
mod report;
mod responder;
mod survey;

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use libexo::ids::HostId;
use libexo::transport::udp::{Reach, UdpConfig, UdpTransport};
use libexo::transport::{Peers, Transport};
use libexo::wire::RingId;
use libexo::wire::auth::Protection;
use rustix::event::{EventfdFlags, eventfd};

use crate::config::{HostSettings, RingSettings, TransportKind, voters};
use crate::engine_thread::command::Asked;
use crate::key_file::Keys;
pub(crate) use choice::Choice;
use responder::{Facts, Responder};

/// Bytes of each socket buffer: a second's probes of a large ring.
const BUFFER_BYTES: usize = 1 << 20;

/// Left of a link's MTU: any probe but the long ones fits.
const LINK_BYTES_MIN: usize = 500;

/// What the ring's host knows about itself.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    pub(crate) me: HostId,
    pub(crate) ring: &'a RingSettings,
    pub(crate) hosts: &'a [HostSettings],
    pub(crate) id: RingId,
    pub(crate) protection: &'a Protection,
    /// Grows over restarts.
    pub(crate) inc: u64,
    /// Interface that carries the frames.
    pub(crate) link: String,
    /// Longest frame of the ring.
    pub(crate) frame_bytes_max: usize,
    /// With `transport = "auto"` on a link with multicast: what probes are to choose.
    pub(crate) choice: Option<&'a Arc<Choice>>,
}

/// A responder that no thread runs yet, or why there is none.
pub(crate) type Opened = Result<Box<Responder>, String>;

/// Opens the sockets in the network namespace of this thread.
pub(crate) fn open(place: &Place<'_>) -> Opened {
    let addresses = addresses(place.ring, place.hosts)?;
    let own = addresses[usize::from(place.me.0)];
    let mut peers = Peers::new(place.me);
    for (host, address) in (0..=u8::MAX).map(HostId).zip(&addresses) {
        peers
            .add(host, *address)
            .map_err(|error| error.to_string())?;
    }
    let reach = match place.ring.transport {
        TransportKind::Auto if place.choice.is_none() => Reach::FanOut,
        TransportKind::Auto | TransportKind::UdpMulticast => {
            let group = place.ring.group(own.is_ipv4());
            let port = port(place.ring, group.port())?;
            Reach::Multicast(SocketAddr::new(group.ip(), port))
        }
        TransportKind::UdpBroadcast => {
            let to = place.ring.broadcast;
            let to = to.expect("checked when the configuration was read");
            Reach::Broadcast(SocketAddr::new(to, own.port()))
        }
        _ => Reach::FanOut,
    };
    let config = UdpConfig {
        link: place.link.clone(),
        peers,
        reach,
        buffer_bytes: BUFFER_BYTES,
    };
    let transport = UdpTransport::open(config).map_err(|error| error.to_string())?;
    if transport.mtu() < LINK_BYTES_MIN {
        return Err(format!("the MTU of {} is too small for probes", place.link));
    }
    let datagram_max = u16::try_from(transport.mtu()).unwrap_or(u16::MAX);
    let frame_bytes = match place.ring.transport {
        // It cuts its stream as it likes.
        TransportKind::Tcp => None,
        // A datagram as long as the link allows is a frame as long as the link allows.
        kind if kind.is_raw() => Some(datagram_max),
        _ => {
            Some(u16::try_from(place.frame_bytes_max).map_or(datagram_max, |n| n.min(datagram_max)))
        }
    };
    let names = place.hosts.iter().map(|host| host.name.clone());
    let facts = Facts {
        me: place.me,
        id: place.id,
        hosts: names.zip(addresses).collect(),
        voters: voters(place.hosts),
        ring_addresses: place.hosts.iter().map(|host| host.address).collect(),
        kind: place.ring.transport,
        has_way_to_all: reach != Reach::FanOut,
        frame_bytes,
    };
    Ok(Box::new(Responder::new(
        facts,
        place.protection,
        place.inc,
        transport,
        place.choice.cloned(),
    )))
}

/// Where each host's probes go.
fn addresses(ring: &RingSettings, hosts: &[HostSettings]) -> Result<Vec<SocketAddr>, String> {
    let address = |host: &HostSettings| {
        let port = port(ring, host.address.port())?;
        Ok(SocketAddr::new(host.address.ip(), port))
    };
    let addresses: Vec<_> = hosts.iter().map(address).collect::<Result<_, String>>()?;
    let is_taken = |probes: &&SocketAddr| hosts.iter().any(|host| host.address == **probes);
    match addresses.iter().find(is_taken) {
        Some(taken) => Err(format!(
            "probes would need {taken}, which is a host's own (choose probe_port in [ring])"
        )),
        None => Ok(addresses),
    }
}

fn port(ring: &RingSettings, ring_port: u16) -> Result<u16, String> {
    match ring.probe_port {
        Some(0) => Err("probing is switched off (probe_port = 0 in [ring])".to_owned()),
        Some(port) => Ok(port),
        None => ring_port.checked_add(1).ok_or_else(|| {
            "there is no port behind 65535 (choose probe_port in [ring])".to_owned()
        }),
    }
}

/// What the control thread wants of the responder.
#[derive(Debug)]
enum Wish {
    /// A report, for somebody who waits.
    Report(Asked),
    /// Probes are sealed and let in with these from now on.
    ChangeKeys(Keys),
}

/// The responder's thread, as the control thread sees it.
#[derive(Debug)]
pub(crate) struct Prober {
    asks: Option<Sender<Wish>>,
    reports: Receiver<(Asked, String)>,
    bell: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Prober {
    /// Starts the thread; `notify` is called when a report is there.
    pub(crate) fn start(
        mut responder: Box<Responder>,
        notify: impl Fn() + Send + 'static,
    ) -> std::io::Result<Self> {
        let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (asks, asked) = channel();
        let (told, reports) = channel();
        let thread = std::thread::Builder::new()
            .name("exo-probe".to_owned())
            .spawn({
                let bell = Arc::clone(&bell);
                move || {
                    responder.run(&asked, &bell, |asked, report| {
                        // An error means that the control thread is gone.
                        let _ = told.send((asked, report));
                        notify();
                    });
                }
            })?;
        Ok(Self {
            asks: Some(asks),
            reports,
            bell,
            thread: Some(thread),
        })
    }

    /// Asks for a report; it comes later.
    pub(crate) fn ask(&self, asked: Asked) {
        self.wish(Wish::Report(asked));
    }

    /// Probes are sealed and let in with other keys.
    pub(crate) fn change_keys(&self, keys: Keys) {
        self.wish(Wish::ChangeKeys(keys));
    }

    fn wish(&self, wish: Wish) {
        if let Some(asks) = &self.asks {
            // An error means that the thread has panicked; who asks runs into his time-out.
            let _ = asks.send(wish);
        }
        self.ring();
    }

    /// Reports that came meanwhile.
    pub(crate) fn reports(&self) -> Vec<(Asked, String)> {
        self.reports.try_iter().collect()
    }

    fn ring(&self) {
        // A full counter rings, too.
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.asks = None;
        self.ring();
        if let Some(thread) = self.thread.take() {
            // Its panic was told when it happened.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, address: &str) -> HostSettings {
        HostSettings {
            name: name.to_owned(),
            address: address.parse().expect("an address"),
            mac: None,
            listens: false,
        }
    }

    fn ring(probe_port: Option<u16>) -> RingSettings {
        RingSettings {
            probe_port,
            ..RingSettings::default()
        }
    }

    #[test]
    fn probes_go_to_the_next_port_or_to_the_one_that_is_set() {
        let hosts = [host("a", "10.0.0.1:7946"), host("b", "10.0.0.2:9000")];
        let ports = |probe_port| {
            let found = addresses(&ring(probe_port), &hosts)?;
            Ok(found.iter().map(SocketAddr::port).collect::<Vec<_>>())
        };
        assert_eq!(ports(None), Ok(vec![7947, 9001]));
        assert_eq!(ports(Some(1234)), Ok(vec![1234, 1234]));
        let off: Result<_, String> = ports(Some(0));
        assert!(off.expect_err("off").contains("switched off"));
    }

    #[test]
    fn a_port_that_is_a_hosts_own_is_never_taken() {
        let hosts = [host("a", "10.0.0.1:7946"), host("b", "10.0.0.1:7947")];
        let found = addresses(&ring(None), &hosts).expect_err("b needs it");
        assert!(found.contains("10.0.0.1:7947"), "{found}");
        let last = [host("a", "10.0.0.1:65535"), host("b", "10.0.0.2:1")];
        let found = addresses(&ring(None), &last).expect_err("there is none");
        assert!(found.contains("65535"), "{found}");
    }
}
