//! Packets on the control socket, in both directions.

use libexo::control::message::{DemoteReason, Query, Reply, Request};
use libexo::ids::{GrantId, GroupId, SessionId, SocketId};

/// What is understood comes back when it is said again.
pub fn run(bytes: &[u8]) {
    if let Ok((request, id)) = Request::parse(bytes) {
        let mut packet = request.emit(id);
        assert_eq!(Request::parse(packet.as_bytes()), Ok((request, id)));
    }
    if let Ok((reply, id)) = Reply::parse(bytes) {
        let mut packet = reply.emit(id);
        assert_eq!(Reply::parse(packet.as_bytes()), Ok((reply, id)));
    }
}

/// One packet of each kind.
pub fn seeds() -> Vec<Vec<u8>> {
    let group = "239.1.2.3:5000".parse().expect("an address");
    let source = "[fe80::1%3]:80".parse().expect("an address");
    let socket = SocketId(3);
    let requests = [
        Request::Hello,
        Request::OpenSocket {
            cookie: 1,
            inode: 2,
            inet6: true,
            relay: false,
            bound: source,
        },
        Request::Join {
            socket,
            group,
            interface: 1,
        },
        Request::Leave { socket, slot: 1 },
        Request::Grant {
            group,
            source,
            ttl: 1,
            tos: 2,
            no_loop: true,
        },
        Request::Sweep,
        Request::Adopt { cookie: 1 },
        Request::Log {
            socket,
            group: GroupId(1),
        },
        Request::Demote {
            socket,
            reason: DemoteReason::Fdopen,
        },
        Request::Ring { socket },
        Request::WaitRoom {
            session: SessionId(1),
        },
        Request::Holder { socket },
        Request::Closed { socket },
        Request::Ask(Query::Status),
        Request::Ask(Query::AddGroup { address: group }),
        Request::Ask(Query::Reload),
        Request::Ask(Query::Stop),
        Request::Ask(Query::Ping),
        Request::Ask(Query::Probe),
    ];
    let replies = [
        Reply::Welcome {
            session: SessionId(1),
        },
        Reply::Socket { socket },
        Reply::Joined {
            slot: 1,
            group: GroupId(2),
        },
        Reply::Granted { grant: GrantId(1) },
        Reply::Log,
        Reply::Done,
        Reply::Document { len: 9 },
        Reply::Refused { errno: 13 },
    ];
    let requests = requests
        .iter()
        .map(|request| request.emit(9).as_bytes().to_vec());
    let replies = replies
        .iter()
        .map(|reply| reply.emit(9).as_bytes().to_vec());
    requests.chain(replies).collect()
}
