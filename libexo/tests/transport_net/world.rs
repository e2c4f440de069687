//! Three hosts on one bridge, each in a network namespace of its own.

use std::env;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{Child, ChildStdin, Command, Stdio};

use libexo::ids::HostId;
use libexo::time::Time;
use libexo::transport::raw::{self, RawConfig, RawTransport};
use libexo::transport::tcp::{TcpConfig, TcpTransport};
use libexo::transport::udp::{self, UdpConfig, UdpTransport};
use libexo::transport::{Counters, Destination, Inbox, MacAddress, Peers, SendError, Transport};
use rustix::thread::LinkNameSpaceType;

pub(crate) const HOSTS: u8 = 3;
const INSIDE: &str = "EXO_TRANSPORT_NET_INSIDE";

/// Runs `test` in a namespace of its own; `name` is the test's own name.
pub(crate) fn in_namespace(name: &str, test: impl FnOnce(&World)) {
    if env::var_os(INSIDE).is_some() {
        test(&World::new());
        return;
    }
    let flags = if rustix::process::geteuid().is_root() {
        "-n"
    } else {
        "-Urn"
    };
    let probe = "ip link add exo-probe type bridge";
    let probe = Command::new("unshare")
        .args([flags, "--", "sh", "-c", probe])
        .output();
    let reason = match &probe {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).into_owned()),
        Err(error) => Some(error.to_string()),
    };
    if let Some(reason) = reason {
        println!(
            "skipped: cannot make a network namespace with a bridge: {}",
            reason.trim()
        );
        return;
    }
    let mut command = Command::new("unshare");
    command
        .args([flags, "--"])
        .arg(env::current_exe().expect("this program"));
    command
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1");
    let status = command.status().expect("unshare was there a moment ago");
    assert!(status.success(), "{name} in its namespace: {status}");
}

/// Three namespaces; each has the interface x0 with 10.77.0.*n*, `fd77::`*n*, 02:00:00:00:00:0*n*,
/// where *n* is the host's number plus 1.
pub(crate) struct World {
    hosts: Vec<Holder>,
}

/// Keeps a namespace until its standard input closes.
struct Holder {
    process: Child,
    _stdin: ChildStdin,
}

impl Holder {
    fn new() -> Self {
        let mut command = Command::new("unshare");
        command.args(["-n", "--", "sh", "-c", "echo ready; exec cat"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("a namespace");
        let stdin = process.stdin.take().expect("piped");
        let mut line = String::new();
        let stdout = process.stdout.take().expect("piped");
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("its first line");
        assert_eq!(line, "ready\n");
        Self {
            process,
            _stdin: stdin,
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.process.kill(); // it may have ended by itself
        let _ = self.process.wait();
    }
}

impl World {
    fn new() -> Self {
        let hosts: Vec<_> = (0..HOSTS).map(|_| Holder::new()).collect();
        sh("ip link add br0 type bridge mcast_snooping 0 && ip link set br0 up");
        for (host, holder) in hosts.iter().enumerate() {
            let (n, pid) = (host + 1, holder.process.id());
            sh(&format!(
                "set -e
                ip link add w{n} type veth peer name x0 address 02:00:00:00:00:0{n} netns {pid}
                ip link set w{n} master br0 up
                nsenter -t {pid} -n sh -ec '
                    ip link set lo up
                    ip addr add 10.77.0.{n}/24 brd + dev x0
                    ip link set x0 up
                    ip -6 addr add fd77::{n}/64 dev x0 nodad'"
            ));
        }
        // A bridge takes up a port a little later, and drops what comes before.
        sh("timeout 20 sh -c '
            until [ $(ip -d link show master br0 | grep -c \"state forwarding\") = 3 ]; do :; done'");
        Self { hosts }
    }

    /// Runs `open` in the namespace of `host`.
    pub(crate) fn at<T: Send>(&self, host: u8, open: impl FnOnce() -> T + Send) -> T {
        let namespace = self.namespace(host);
        let enter = move || {
            enter(&namespace);
            open()
        };
        std::thread::scope(|scope| scope.spawn(enter).join().expect("it returns"))
    }

    pub(crate) fn udp(
        &self,
        host: u8,
        peers: Peers<SocketAddr>,
        reach: udp::Reach,
    ) -> UdpTransport {
        let buffer_bytes = UdpConfig::BUFFER_BYTES;
        let config = UdpConfig {
            link: "x0".to_owned(),
            peers,
            reach,
            buffer_bytes,
        };
        self.at(host, || UdpTransport::open(config))
            .expect("it opens")
    }

    fn namespace(&self, host: u8) -> File {
        let holder = &self.hosts[usize::from(host)].process;
        File::open(format!("/proc/{}/ns/net", holder.id())).expect("the holder lives")
    }

    pub(crate) fn tcp(&self, host: u8) -> Inside {
        let config = TcpConfig {
            peers: peers(host, ip4),
            frame_bytes_max: TcpConfig::FRAME_BYTES,
            queue_bytes_max: TcpConfig::QUEUE_BYTES,
        };
        let inner = self.at(host, || TcpTransport::open(config));
        Inside {
            inner: inner.expect("it opens"),
            namespace: self.namespace(host),
        }
    }

    pub(crate) fn raw(&self, host: u8, reach: raw::Reach) -> RawTransport {
        let peers = peers(host, mac);
        let ring_bytes = RawConfig::RING_BYTES;
        let config = RawConfig {
            link: "x0".to_owned(),
            peers,
            reach,
            ring_bytes,
        };
        self.at(host, || RawTransport::open(config))
            .expect("it opens")
    }
}

/// Moves this thread.
fn enter(namespace: &File) {
    let kind = Some(LinkNameSpaceType::Network);
    rustix::thread::move_into_link_name_space(namespace.as_fd(), kind).expect("entered");
}

/// TCP makes sockets as long as it lives, and each belongs into the host's own namespace.
pub(crate) struct Inside {
    inner: TcpTransport,
    namespace: File,
}

impl Transport for Inside {
    fn me(&self) -> HostId {
        self.inner.me()
    }

    fn mtu(&self) -> usize {
        self.inner.mtu()
    }

    fn send(&mut self, to: Destination, frames: &[&[u8]]) -> Result<(), SendError> {
        self.inner.send(to, frames)
    }

    fn recv(&mut self, inbox: &mut Inbox) -> usize {
        self.inner.recv(inbox)
    }

    fn on_time(&mut self, now: Time) -> Option<Time> {
        enter(&self.namespace);
        self.inner.on_time(now)
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.inner.descriptor()
    }

    fn counters(&mut self) -> Counters {
        self.inner.counters()
    }
}

pub(crate) fn sh(script: &str) {
    let output = Command::new("sh")
        .args(["-c", script])
        .output()
        .expect("a shell");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{script}: {text}");
}

pub(crate) fn ip4(host: u8) -> SocketAddr {
    SocketAddr::from(([10, 77, 0, host + 1], 7_000))
}

pub(crate) fn ip6(host: u8) -> SocketAddr {
    SocketAddr::from(([0xFD77, 0, 0, 0, 0, 0, 0, u16::from(host) + 1], 7_000))
}

pub(crate) fn mac(host: u8) -> MacAddress {
    MacAddress([2, 0, 0, 0, 0, host + 1])
}

pub(crate) fn peers<A: libexo::transport::peers::Address>(
    me: u8,
    address: fn(u8) -> A,
) -> Peers<A> {
    let mut peers = Peers::new(HostId(me));
    for host in 0..HOSTS {
        peers
            .add(HostId(host), address(host))
            .expect("all different");
    }
    peers
}
