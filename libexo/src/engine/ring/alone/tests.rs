use super::*;
use crate::ids::GroupId;
use proptest::prelude::{any, proptest};

const NOW: Time = Time(0);

fn submit(ring: &mut Alone, group: u32, bytes: &[u8]) -> Admit {
    ring.on_submit(
        NOW,
        Submission {
            group: GroupId(group),
            origin: 7,
            bytes,
        },
    )
}

#[test]
fn a_ring_of_one_agrees_at_once_and_sends_nothing() {
    let mut ring = Alone::new(HostId(0), Params::default());
    assert_eq!(submit(&mut ring, 1, b"a"), Admit::Taken(Ticket(1)));
    assert_eq!(submit(&mut ring, 2, b""), Admit::Taken(Ticket(2)));
    let first = ring.poll_deliver().expect("one message waits");
    assert_eq!(
        (first.seq, first.position, first.bytes),
        (Seq(1), Position(1), &b"a"[..])
    );
    assert_eq!((first.stage, first.origin), (Stage::Agreed, 7));
    let second = ring.poll_deliver().expect("and one more");
    assert_eq!(
        (second.seq, second.group, second.position),
        (Seq(2), GroupId(2), Position(1))
    );
    assert!(ring.poll_deliver().is_none());
    assert!(ring.poll_transmit().is_none());
    assert_eq!(ring.marks().safe(), Position(1));
    ring.check().expect("invariants hold");
}

#[test]
fn a_full_queue_says_busy_and_goes_on_after_delivery() {
    let mut ring = Alone::new(HostId(0), Params::default());
    let datagram = [9; 60_000];
    let mut taken = 0;
    while submit(&mut ring, 1, &datagram) != Admit::Busy {
        taken += 1;
    }
    assert_eq!(taken, 4, "256 KiB hold four");
    assert_eq!(ring.poll_deliver().expect("agreed").bytes, datagram);
    assert_eq!(
        submit(&mut ring, 1, &datagram[..50_000]),
        Admit::Taken(Ticket(5))
    );
    ring.check().expect("invariants hold");
}

#[test]
fn the_first_view_is_announced() {
    let mut ring = Alone::new(HostId(3), Params::default());
    assert_eq!(
        ring.poll_event(),
        Some(Event::View(View::first(vec![HostId(3)])))
    );
    assert_eq!(ring.poll_event(), None);
}

#[test]
fn a_frame_is_counted_and_dropped() {
    let mut ring = Alone::new(HostId(0), Params::default());
    ring.on_frame(
        NOW,
        Port {
            host: HostId(1),
            link: 0,
        },
        Frame { bytes: b"?" },
    );
    assert_eq!(ring.frames_dropped(), 1);
    assert!(ring.poll_deliver().is_none());
}

proptest! {
    /// Whatever is taken comes out once, whole, in order; every step keeps the invariants.
    #[test]
    fn deliveries_are_the_submissions(
        steps in proptest::collection::vec((any::<bool>(), 0_usize..70_000), 1..200),
    ) {
        let params = Params::default();
        let mut ring = Alone::new(HostId(0), params);
        let mut expected = VecDeque::new();
        for (number, (is_submit, len)) in steps.into_iter().enumerate() {
            if is_submit {
                let len = len.min(65_507);
                let bytes = vec![u8::try_from(number % 251).unwrap(); len];
                if submit(&mut ring, 1, &bytes) != Admit::Busy {
                    expected.push_back(bytes);
                }
            } else {
                let got = ring.poll_deliver().map(|delivery| delivery.bytes.to_vec());
                assert_eq!(got, expected.pop_front());
            }
            ring.check().unwrap();
        }
        while let Some(bytes) = expected.pop_front() {
            assert_eq!(ring.poll_deliver().unwrap().bytes, bytes);
        }
        assert!(ring.poll_deliver().is_none());
    }
}
