//! Every call with arguments of every sort, valid and not, on every kind of descriptor.
//!
//! Some 50,000 calls for each of the two ways of binding. Each gets a descriptor of its own; what it
//! answers, and what it leaves behind, is compared with the kernel's.

use compat_tests::both::Case;
use compat_tests::cases;

fn sweep(name: &'static str) -> Case {
    Case::new("sweep", name).within(120)
}

cases! {
    reads_of_every_sort => sweep("sweep_read");
    receives_of_every_sort => sweep("sweep_recv");
    receives_with_addresses_of_every_sort => sweep("sweep_recvfrom");
    received_messages_of_every_sort => sweep("sweep_recvmsg");
    several_received_messages_of_every_sort => sweep("sweep_recvmmsg");
    writes_of_every_sort => sweep("sweep_write");
    sends_of_every_sort => sweep("sweep_send");
    sends_to_addresses_of_every_sort => sweep("sweep_sendto");
    sent_messages_of_every_sort => sweep("sweep_sendmsg");
    binds_of_every_sort => sweep("sweep_bind");
    connects_of_every_sort => sweep("sweep_connect");
    names_of_every_sort => sweep("sweep_names");
    questions_for_every_option => sweep("sweep_getsockopt");
    settings_of_every_option => sweep("sweep_setsockopt");
    memberships_of_every_sort => sweep("sweep_membership");
    descriptors_of_every_sort => sweep("sweep_descriptors");
    readiness_of_every_sort => sweep("sweep_ready");
}
