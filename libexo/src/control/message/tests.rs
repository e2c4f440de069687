use super::*;
use proptest::prelude::{Strategy, any, prop_oneof, proptest};

fn address() -> impl Strategy<Value = SocketAddr> {
    prop_oneof![
        (any::<[u8; 4]>(), any::<u16>())
            .prop_map(|(ip, port)| SocketAddr::new(IpAddr::from(ip), port)),
        (any::<[u8; 16]>(), any::<u16>(), any::<u32>()).prop_map(|(ip, port, scope)| {
            SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::from(ip), port, 0, scope))
        }),
    ]
}

fn request() -> impl Strategy<Value = Request> {
    let socket = any::<u32>().prop_map(SocketId);
    prop_oneof![
        proptest::strategy::Just(Request::Hello),
        (
            any::<u64>(),
            any::<u64>(),
            any::<bool>(),
            any::<bool>(),
            address()
        )
            .prop_map(|(cookie, inode, inet6, relay, bound)| Request::OpenSocket {
                cookie,
                inode,
                inet6,
                relay,
                bound
            }),
        (any::<u32>().prop_map(SocketId), address(), any::<u32>()).prop_map(
            |(socket, group, interface)| Request::Join {
                socket,
                group,
                interface
            }
        ),
        (
            address(),
            address(),
            any::<u8>(),
            any::<u8>(),
            any::<bool>()
        )
            .prop_map(|(group, source, ttl, tos, no_loop)| Request::Grant {
                group,
                source,
                ttl,
                tos,
                no_loop
            }),
        (socket, any::<u32>()).prop_map(|(socket, slot)| Request::Leave { socket, slot }),
        address().prop_map(|address| Request::Ask(Query::AddGroup { address })),
        any::<u64>().prop_map(|cookie| Request::Adopt { cookie }),
    ]
}

proptest! {
    #[test]
    fn parse_of_emit_is_the_request(request in request(), id in any::<u32>()) {
        assert_eq!(Request::parse(request.emit(id).as_bytes()), Ok((request, id)));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = Request::parse(&bytes);
        let _ = Reply::parse(&bytes);
    }

    #[test]
    fn a_cut_request_is_refused(request in request(), cut in 1_usize..16) {
        let mut packet = request.emit(1);
        let bytes = packet.as_bytes();
        let keep = bytes.len().saturating_sub(cut);
        let cut = Request::parse(&bytes[..keep]);
        assert!(cut.is_err(), "{cut:?}");
    }
}

#[test]
fn every_reply_survives_the_way() {
    for reply in [
        Reply::Welcome {
            session: SessionId(7),
        },
        Reply::Socket {
            socket: SocketId(9),
        },
        Reply::Joined {
            slot: 3,
            group: GroupId(2),
        },
        Reply::Granted { grant: GrantId(5) },
        Reply::Log,
        Reply::Done,
        Reply::Document { len: 1 << 33 },
        Reply::Refused { errno: 13 },
    ] {
        assert_eq!(Reply::parse(reply.emit(77).as_bytes()), Ok((reply, 77)));
    }
}

#[test]
fn another_version_is_named() {
    let mut packet = Request::Hello.emit(1);
    let mut bytes = packet.as_bytes().to_vec();
    bytes[4] = 9;
    assert_eq!(
        Request::parse(&bytes),
        Err(ParseError::Version { found: 9 })
    );
}
