//! Every call with arguments of every sort, valid and not, on every kind of descriptor.
//!
//! Some 50,000 calls for each of the two ways of binding. Each gets a descriptor of its own; what it
//! answers, and what it leaves behind, is compared with the kernel's.

use compat_tests::both::Case;
use compat_tests::cases;

fn data(name: &'static str) -> Case {
    Case::new("sweep_data", name).within(120)
}

fn rest(name: &'static str) -> Case {
    Case::new("sweep_rest", name).within(120)
}

cases! {
    reads_of_every_sort => data("sweep_read");
    receives_of_every_sort => data("sweep_recv");
    receives_with_addresses_of_every_sort => data("sweep_recvfrom");
    received_messages_of_every_sort => data("sweep_recvmsg");
    several_received_messages_of_every_sort => data("sweep_recvmmsg");
    writes_of_every_sort => data("sweep_write");
    sends_of_every_sort => data("sweep_send");
    sends_to_addresses_of_every_sort => data("sweep_sendto");
    sent_messages_of_every_sort => data("sweep_sendmsg");
    binds_of_every_sort => rest("sweep_bind");
    connects_of_every_sort => rest("sweep_connect");
    names_of_every_sort => rest("sweep_names");
    questions_for_every_option => rest("sweep_getsockopt");
    settings_of_every_option => rest("sweep_setsockopt");
    memberships_of_every_sort => rest("sweep_membership");
    descriptors_of_every_sort => rest("sweep_descriptors");
    readiness_of_every_sort => rest("sweep_ready");
}
