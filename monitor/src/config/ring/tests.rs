use super::{TransportKind, voters};
use crate::config::tests::{config, mistakes, one_mistake};

const TWO_HOSTS: &str = "[ring]\nkey_file = \"/k\"\n\
    [[host]]\nname = \"b\"\naddress = \"10.0.0.2:7946\"\n\
    [[host]]\nname = \"a\"\naddress = \"10.0.0.1:7946\"\n";

#[test]
fn hosts_have_the_order_of_their_names() {
    let config = config(TWO_HOSTS);
    let names: Vec<_> = config.hosts.iter().map(|host| host.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(config.ring.transport, TransportKind::Auto);
    assert!(config.ring.authentication && !config.ring.encryption);
}

#[test]
fn hosts_that_listen_come_behind_those_that_vote() {
    let text = TWO_HOSTS.replacen("7946\"\n", "7946\"\nlistens = false\n", 1)
        + "listens = true\n[[host]]\nname = \"c\"\naddress = \"10.0.0.3:7946\"\n";
    let config = config(&text);
    let hosts = config.hosts.iter();
    let hosts: Vec<_> = hosts
        .map(|host| (host.name.as_str(), host.listens))
        .collect();
    assert_eq!(hosts, [("b", false), ("c", false), ("a", true)]);
    assert_eq!(voters(&config.hosts), 2);
}

#[test]
fn somebody_has_to_vote() {
    let text = TWO_HOSTS.replace("7946\"\n", "7946\"\nlistens = true\n");
    let mistake = "3:1 every host only listens, and nobody orders; take listens = true away from one \
                   [[host]], better from three";
    assert_eq!(one_mistake(&text), mistake);
    let text = format!("{TWO_HOSTS}listens = \"yes\"\n");
    assert_eq!(
        one_mistake(&text),
        "9:11 true or false belongs here, not a string; write it without quotes"
    );
}

#[test]
fn probes_have_a_port_of_their_own_or_none() {
    let probing = |setting: &str| TWO_HOSTS.replacen('\n', &format!("\n{setting}"), 1);
    assert_eq!(config(TWO_HOSTS).ring.probe_port, None);
    for (port, setting) in [(0, "probe_port = 0\n"), (65535, "probe_port = 65535\n")] {
        assert_eq!(config(&probing(setting)).ring.probe_port, Some(port));
    }
    let mistake = "2:14 this number is not a port; take one of 1 to 65535, or 0 for no probes";
    assert_eq!(one_mistake(&probing("probe_port = 65536\n")), mistake);
}

#[test]
fn hosts_meet_where_they_are_told_or_where_the_rings_number_leads() {
    let group = |setting: &str, is_v4| {
        let text = TWO_HOSTS.replacen('\n', &format!("\n{setting}"), 1);
        config(&text).ring.group(is_v4).to_string()
    };
    assert_eq!(group("", true), "239.255.88.79:7946");
    assert_eq!(group("number = 2\n", true), "239.255.88.80:7946");
    assert_eq!(group("number = 43442\n", true), "239.255.2.0:7946");
    assert_eq!(group("number = 0\n", true), "239.255.88.78:7946");
    let fixed = "number = 2\ntransport = \"udp-multicast\"\n";
    assert_eq!(group(fixed, true), "239.255.88.79:7946");
    assert_eq!(group("", false), "[ff15::4558:0:1]:7946");
    assert_eq!(group("number = 65537\n", false), "[ff15::4558:1:1]:7946");
    assert_eq!(group("multicast = \"239.1.1.1:5\"\n", true), "239.1.1.1:5");
    let other = "multicast = \"[ff15::1]:5\"\n";
    assert_eq!(
        one_mistake(&TWO_HOSTS.replacen('\n', &format!("\n{other}"), 1)),
        "4:1 [ff15::1]:5 is of another family than the hosts; give multicast in [ring] an address \
         of theirs, or leave it out"
    );
}

#[test]
fn hosts_without_a_key_are_told_to_make_one() {
    let text = TWO_HOSTS.replace("key_file = \"/k\"\n", "");
    assert_eq!(
        one_mistake(&text),
        "2:1 hosts need a key, and [ring] names none; make one with `exo keygen`, copy it to \
         every host, and add key_file = \"PATH\" (or authentication = false, if nobody else can \
         reach the network)"
    );
    let open = text.replace("[ring]\n", "[ring]\nauthentication = false\n");
    assert!(!config(&open).ring.authentication);
}

#[test]
fn mistakes_in_hosts_are_told_where_they_stand() {
    let wrong = |from: &str, to: &str| {
        assert!(TWO_HOSTS.contains(from));
        one_mistake(&TWO_HOSTS.replacen(from, to, 1))
    };
    assert_eq!(
        wrong("\"a\"", "\"b\""),
        "7:8 a second host is called \"b\"; give each host its own name"
    );
    assert_eq!(
        wrong("10.0.0.1", "10.0.0.2"),
        "8:11 address 10.0.0.2:7946 is already that of b; give each host its own address"
    );
    assert_eq!(
        wrong("10.0.0.1", "239.0.0.1"),
        "8:11 239.0.0.1:7946 is not the address of one host; give an address that one of its \
         interfaces has, and a port"
    );
    assert_eq!(
        wrong("10.0.0.1:", "[fd00::1]:"),
        "8:11 10.0.0.2:7946 and [fd00::1]:7946 are of two families; give all hosts IPv4 addresses, \
         or all of them IPv6 addresses"
    );
    assert_eq!(
        wrong("name = \"b\"\n", ""),
        "3:1 this [[host]] has no name; add a line such as name = \"a\""
    );
    assert_eq!(
        wrong("[ring]\n", "[ring]\nhost = \"c\"\n"),
        "4:1 [ring] says that this is host \"c\", and no [[host]] is called so; add it, or correct \
         the name"
    );
    assert_eq!(
        wrong("[ring]\n", "[ring]\ntransport = \"udp-broadcast\"\n"),
        "4:1 udp-broadcast needs IPv4 hosts and the link's broadcast address; add broadcast = \
         \"10.0.0.255\" to [ring], or take udp-multicast"
    );
    assert_eq!(
        wrong("[ring]\n", "[ring]\ntransport = \"tpc\"\n"),
        "2:13 \"tpc\" is not a value of `transport`; did you mean \"tcp\"? It can be \"auto\", \
         \"udp-multicast\", \"udp-broadcast\", \"udp-copies\", \"tcp\", \"raw-multicast\", \
         \"raw-copies\""
    );
    assert_eq!(
        mistakes(&TWO_HOSTS.replace("[ring]\n", "[ring]\ntransport = \"raw-copies\"\n")).len(),
        2,
        "both hosts lack a mac"
    );
}
