use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::*;

/// Reads texts as if they were files of growing rank, called `0.toml`, `1.toml`, …
fn load_texts(texts: &[&str], arguments: &Arguments) -> Result<Loaded, ConfigErrors> {
    let mut sources = Sources::default();
    for (index, text) in texts.iter().enumerate() {
        sources.add(Path::new(&format!("{index}.toml")), (*text).to_owned());
    }
    load_sources(&sources, arguments, Vec::new())
}

fn load_text(text: &str) -> Result<Loaded, ConfigErrors> {
    load_texts(&[text], &Arguments::default())
}

pub(super) fn config(text: &str) -> Config {
    load_text(text).unwrap().config
}

/// Each mistake as `LINE:COLUMN what; hint`.
pub(super) fn mistakes(text: &str) -> Vec<String> {
    let errors = load_text(text).expect_err("the text holds a mistake");
    errors
        .all()
        .iter()
        .map(|error| match &error.place {
            Place::File { line, column, .. } => {
                format!("{line}:{column} {}; {}", error.what, error.hint)
            }
            place => format!("{place} {}; {}", error.what, error.hint),
        })
        .collect()
}

pub(super) fn one_mistake(text: &str) -> String {
    let all = mistakes(text);
    assert_eq!(all.len(), 1, "{all:#?}");
    all.into_iter().next().unwrap()
}

const SMALLEST: &str = "[[group]]\nname = \"orders\"\naddress = \"239.1.2.3:5000\"\n";

#[test]
fn smallest_file_gets_every_default() {
    let config = config(SMALLEST);
    assert_eq!(config.monitor, MonitorSettings::default());
    let group = &config.groups[0];
    assert_eq!(group.name, "orders");
    assert_eq!(group.address, "239.1.2.3:5000".parse().unwrap());
    assert_eq!(group.log_bytes, 8 << 20);
    assert_eq!(group.slow_member, SlowMember::default());
    assert_eq!((&group.may_join, &group.may_send), (&None, &None));
}

#[test]
fn every_setting_is_read() {
    let config = config(
        r#"
        [monitor]
        socket = "/tmp/s"
        log = "warn,exo_monitor=debug"
        log_format = "json"
        idle_exit = "10s"
        spin = "1ms 500us"
        lane = "512KiB"
        [[group]]
        address = "[ff15::1]:5000"
        order = "ring"
        deliver = "agreed"
        log = "16 MiB"
        slow_member = { wait = "250ms", policy = "expel" }
        may_join = { uid = [0, 1000], exe = ["/usr/bin/python3"] }
        may_send = {}
        [[group]]
        name = "one-host"
        address = "10.0.0.1:4000"
        unicast = true
        "#,
    );
    let monitor = &config.monitor;
    assert_eq!(monitor.socket, Path::new("/tmp/s"));
    assert_eq!(monitor.log_format, LogFormat::Json);
    assert_eq!(monitor.idle_exit, Duration::from_secs(10));
    assert_eq!(monitor.spin, Duration::from_micros(1500));
    assert_eq!(monitor.lane_bytes, 512 << 10);
    let group = &config.groups[0];
    assert_eq!(group.name, "[ff15::1]:5000");
    assert_eq!(group.log_bytes, 16 << 20);
    assert_eq!(group.slow_member.policy, SlowPolicy::Expel);
    assert_eq!(group.may_join.as_ref().unwrap().uid, [0, 1000]);
    assert_eq!(group.may_send, Some(Allow::default()));
    assert!(config.groups[1].unicast);
}

#[test]
fn unknown_key_is_reported_where_it_stands_with_the_nearest_word() {
    assert_eq!(
        one_mistake("[[group]]\nadress = \"239.1.2.3:5000\"\n"),
        "2:1 unknown key `adress` in [[group]]; did you mean `address`?"
    );
    assert_eq!(
        one_mistake("[monitor]\n  sockt = \"/x\"\n"),
        "2:3 unknown key `sockt` in [monitor]; did you mean `socket`?"
    );
    assert_eq!(
        one_mistake("[[groups]]\naddress = \"239.1.2.3:5000\"\n"),
        "1:3 unknown key `groups` in exo.toml; did you mean `group`?"
    );
    assert_eq!(
        one_mistake("[[group]]\naddress = \"239.1.2.3:5000\"\nslow_member = { wat = \"1s\" }\n"),
        "3:17 unknown key `wat` in slow_member; did you mean `wait`?"
    );
    assert_eq!(
        one_mistake("[monitor]\nquux_and_so_on = 1\n"),
        "2:1 unknown key `quux_and_so_on` in [monitor]; the keys here are socket, log, \
         log_format, idle_exit, spin, lane"
    );
}

#[test]
fn columns_count_characters_not_bytes() {
    let text =
        "[[group]]\naddress = \"239.1.2.3:5000\"\nslow_member = { policy = \"gäp\", wat = \"1s\" }";
    assert_eq!(
        mistakes(text),
        [
            "3:26 \"gäp\" is not a value of `policy`; did you mean \"gap\"? It can be \
             \"throttle\", \"gap\", \"expel\"",
            "3:33 unknown key `wat` in slow_member; did you mean `wait`?",
        ]
    );
}

#[test]
fn duplicate_address_names_both_places() {
    let text = format!("{SMALLEST}[[group]]\nname = \"b\"\naddress = \"239.1.2.3:5000\"\n");
    assert_eq!(
        one_mistake(&text),
        "6:11 address 239.1.2.3:5000 is already that of group orders; give each group its own \
         address or port (the other is at 0.toml:3:11)"
    );
}

#[test]
fn duplicate_name_names_both_places() {
    let text = format!("{SMALLEST}[[group]]\nname = \"orders\"\naddress = \"239.1.2.4:5000\"\n");
    assert_eq!(
        one_mistake(&text),
        "5:8 a second group is called \"orders\"; give each group its own name (the other is at \
         0.toml:2:8)"
    );
}

#[test]
fn ipv6_address_without_scope_overlaps_every_scope() {
    let text = "[[group]]\naddress = \"[ff12::1]:5000\"\n[[group]]\naddress = \"[ff12::1%2]:5000\"";
    assert_eq!(
        one_mistake(text),
        "4:11 address [ff12::1%2]:5000 overlaps [ff12::1]:5000 of group [ff12::1]:5000; give each \
         group its own address or port (the other is at 0.toml:2:11)"
    );
    let two_scopes = text.replace("[ff12::1]", "[ff12::1%3]");
    assert_eq!(config(&two_scopes).groups.len(), 2);
}

#[test]
fn unicast_address_must_be_meant() {
    assert_eq!(
        one_mistake("[[group]]\naddress = \"10.0.0.1:5000\""),
        "2:11 10.0.0.1 is not a multicast address; add unicast = true if it is meant, or give one \
         in 224.0.0.0/4 or ff00::/8"
    );
}

#[test]
fn unusable_addresses_say_what_to_write() {
    let address = |text: &str| one_mistake(&format!("[[group]]\naddress = {text}"));
    assert_eq!(
        address("\"239.1.2.3\""),
        "2:11 \"239.1.2.3\" is not an address with a port; add the port: \"239.1.2.3:5000\""
    );
    assert_eq!(
        address("\"ff15::1\""),
        "2:11 \"ff15::1\" is not an address with a port; add brackets and the port: \
         \"[ff15::1]:5000\""
    );
    assert!(address("\"orders.example:5000\"").contains("write numbers"));
    assert!(address("\"239.1.2.3:70000\"").contains("is not an address"));
    assert!(address("\"239.1.2.3:0\"").contains("port 0 marks nothing"));
    assert!(address("\"0.0.0.0:1\"").contains("not the address of a group"));
    assert!(address("\"[::ffff:239.1.2.3]:5000\"").contains("write \"239.1.2.3:5000\""));
    assert!(address("5000").contains("2:11 a string belongs here, not a number"));
}

#[test]
fn group_without_address_is_reported_at_its_header() {
    assert_eq!(
        one_mistake("[monitor]\n[[group]]\nname = \"x\"\n"),
        "2:1 this [[group]] has no address; add a line such as address = \"239.1.2.3:5000\""
    );
}

#[test]
fn single_brackets_are_recognised() {
    assert_eq!(
        one_mistake("[group]\naddress = \"239.1.2.3:5000\"\n"),
        "1:1 `group` is a table, but groups are a list of tables; write [[group]] with two \
         brackets on each side"
    );
}

#[test]
fn bad_units_get_the_nearest_one() {
    let group = |line: &str| one_mistake(&format!("[[group]]\naddress = \"239.1.2.3:5\"\n{line}"));
    assert_eq!(
        group("log = \"8MiX\""),
        "3:7 \"MiX\" is not a unit of size; did you mean \"8MiB\"?"
    );
    assert_eq!(
        group("slow_member = { wait = \"5 secs.\" }"),
        "3:24 \"5 secs.\" is not a duration; write a number with a unit, such as \"250ms\""
    );
    assert_eq!(
        group("slow_member = { wait = \"5 mns\" }"),
        "3:24 \"mns\" is not a unit of duration; did you mean \"5ns\"?"
    );
    assert_eq!(
        group("slow_member = { wait = \"5\" }"),
        "3:24 \"5\" has no unit; write a number with a unit, such as \"250ms\""
    );
    assert_eq!(
        group("log = 8388608"),
        "3:7 a string belongs here, not a number; write \"8MiB\""
    );
    assert_eq!(
        group("log = \"8388608\""),
        "3:7 \"8388608\" has no unit; write a number with a unit, such as \"8MiB\""
    );
}

#[test]
fn sizes_keep_their_bounds_and_are_powers_of_two() {
    let group = |line: &str| one_mistake(&format!("[[group]]\naddress = \"239.1.2.3:5\"\n{line}"));
    assert_eq!(
        group("log = \"512KiB\""),
        "3:7 \"512KiB\" is out of bounds; give 1MiB to 1GiB"
    );
    assert_eq!(
        group("log = \"2GiB\""),
        "3:7 \"2GiB\" is out of bounds; give 1MiB to 1GiB"
    );
    assert_eq!(
        group("log = \"8MB\""),
        "3:7 \"8MB\" is not a power of two; give \"4MiB\" or \"8MiB\""
    );
    assert_eq!(
        one_mistake("[monitor]\nlane = \"128KiB\""),
        "2:8 \"128KiB\" is out of bounds; give 256KiB to 64MiB"
    );
    assert_eq!(
        one_mistake("[monitor]\nspin = \"1s\""),
        "2:8 \"1s\" is out of bounds; give 0s to 10ms"
    );
}

#[test]
fn engines_that_do_not_exist_are_refused() {
    assert_eq!(
        one_mistake("[[group]]\naddress = \"239.1.2.3:5\"\norder = \"paxos\""),
        "3:9 \"paxos\" is not a value of `order`; write \"ring\", the only one that exists today"
    );
    assert!(
        one_mistake("[[group]]\naddress = \"239.1.2.3:5\"\ndeliver = \"safe\"")
            .ends_with("write \"agreed\", the only one that exists today")
    );
}

#[test]
fn log_filter_is_a_level_or_modules_with_levels() {
    assert_eq!(
        one_mistake("[monitor]\nlog = \"inof\""),
        "2:7 \"inof\" is not a level of logging; did you mean \"info\"?"
    );
    assert!(one_mistake("[monitor]\nlog = \"exo=loud\"").contains("\"loud\" is not a level"));
    assert_eq!(
        config("[monitor]\nlog = \"off, exo=trace\"").monitor.log,
        "off,exo=trace"
    );
}

#[test]
fn socket_is_an_absolute_path_that_the_kernel_takes() {
    assert_eq!(
        one_mistake("[monitor]\nsocket = \"exod.sock\""),
        "2:10 \"exod.sock\" does not begin with /; write the whole path"
    );
    let long = one_mistake(&format!("[monitor]\nsocket = \"/{}\"", "x".repeat(107)));
    assert!(
        long.starts_with("2:10 a path of 108 bytes is too long"),
        "{long}"
    );
}

#[test]
fn lists_of_people_and_programs_are_checked_item_by_item() {
    let text = "[[group]]\naddress = \"239.1.2.3:5\"\n\
                may_join = { uid = [1, -1, \"root\"], exe = [\"python3\"] }";
    let all = mistakes(text);
    assert_eq!(
        all,
        [
            "3:24 no user has this number; write what `id -u NAME` prints",
            "3:28 the number of a user belongs here, not a string; write what `id -u NAME` prints",
            "3:44 \"python3\" does not begin with /; write the whole path",
        ]
    );
}

#[test]
fn spelling_of_toml_is_reported_with_its_place() {
    let wrong = one_mistake("[monitor]\nsocket = /x\n");
    assert!(wrong.starts_with("2:10 "), "{wrong}");
    let twice = one_mistake("[monitor]\nlog = \"info\"\nlog = \"warn\"\n");
    assert!(twice.starts_with("3:1 duplicate key"), "{twice}");
}

#[test]
fn several_mistakes_come_together_in_order() {
    let all = mistakes("[monitor]\nlogg = 1\nspin = \"5x\"\n[[group]]\naddress = \"1.2.3.4:5\"\n");
    assert_eq!(all.len(), 3, "{all:#?}");
    assert!(
        all[0].starts_with("2:1 ") && all[1].starts_with("3:8 "),
        "{all:#?}"
    );
}

#[test]
fn message_shows_the_line_and_marks_the_words() {
    let errors = load_text("[monitor]\n\tlogg = \"info\"\n").unwrap_err();
    assert_eq!(
        errors.to_string(),
        "0.toml:2:2: unknown key `logg` in [monitor]; did you mean `log`?\n    \tlogg = \"info\"\n    \t^^^^"
    );
}

#[test]
fn later_file_wins_key_by_key_and_groups_add_up() {
    let loaded = load_texts(
        &[
            "[monitor]\nlog = \"warn\"\nspin = \"1ms\"\n[[group]]\naddress = \"239.1.2.3:1\"\n",
            "[monitor]\nlog = \"debug\"\n[[group]]\naddress = \"239.1.2.3:2\"\n",
        ],
        &Arguments::default(),
    )
    .unwrap();
    assert_eq!(loaded.config.monitor.log, "debug");
    assert_eq!(loaded.config.monitor.spin, Duration::from_millis(1));
    assert_eq!(loaded.config.groups.len(), 2);
    let from = |key: &str| {
        let origin = loaded
            .origins
            .iter()
            .find(|origin| origin.key == key)
            .unwrap();
        origin.from.to_string()
    };
    assert_eq!(from("monitor.log"), "1.toml:2:7");
    assert_eq!(from("monitor.spin"), "0.toml:3:8");
    assert_eq!(from("monitor.lane"), "default");
    assert_eq!(from("group.239.1.2.3:2.address"), "1.toml:4:11");
}

#[test]
fn mistake_in_a_drop_in_is_reported_in_the_drop_in() {
    let errors = load_texts(
        &[SMALLEST, "\n[[group]]\naddress = \"239.1.2.3:5000\"\n"],
        &Arguments::default(),
    )
    .unwrap_err();
    assert_eq!(errors.all().len(), 1);
    assert_eq!(errors.all()[0].place.to_string(), "1.toml:3:11");
    assert!(
        errors.to_string().contains("(the other is at 0.toml:3:11)"),
        "{errors}"
    );
}

#[test]
fn arguments_outrank_files() {
    let arguments = Arguments {
        socket: Some("/tmp/other".into()),
        log: Some("trace".into()),
        log_format: Some(LogFormat::Json),
        idle_exit: Some(Duration::from_secs(10)),
        groups: vec![
            "239.1.2.3:5000".parse().unwrap(),
            "239.9.9.9:1".parse().unwrap(),
        ],
    };
    let loaded = load_texts(&[SMALLEST], &arguments).unwrap();
    assert_eq!(loaded.config.monitor.socket, Path::new("/tmp/other"));
    assert_eq!(loaded.config.monitor.idle_exit, Duration::from_secs(10));
    let names: Vec<_> = loaded
        .config
        .groups
        .iter()
        .map(|group| group.name.as_str())
        .collect();
    assert_eq!(names, ["orders", "239.9.9.9:1"]);
    let socket = loaded
        .origins
        .iter()
        .find(|origin| origin.key == "monitor.socket")
        .unwrap();
    assert_eq!(socket.from, Place::Argument);
}

#[test]
fn wrong_arguments_are_mistakes_of_the_command_line() {
    let arguments = Arguments {
        log: Some("loud".into()),
        groups: vec!["10.0.0.1:1".parse().unwrap()],
        ..Arguments::default()
    };
    let errors = load_texts(&[], &arguments).unwrap_err().to_string();
    assert!(
        errors.contains("command line: \"loud\" is not a level of logging"),
        "{errors}"
    );
    assert!(
        errors.contains("command line: -g 10.0.0.1:1: 10.0.0.1 is not a multicast"),
        "{errors}"
    );
}

#[test]
fn arguments_do_not_mind_a_document_that_is_wrong_throughout() {
    let arguments = Arguments {
        socket: Some("/tmp/other".into()),
        log: Some("info".into()),
        idle_exit: Some(Duration::ZERO),
        groups: vec!["239.1.2.3:5000".parse().unwrap()],
        ..Arguments::default()
    };
    let errors = load_texts(&["monitor = 5\ngroup = []\n"], &arguments).unwrap_err();
    assert_eq!(errors.all()[0].place.to_string(), "0.toml:1:11");
    let name_taken = "[[group]]\nname = \"239.1.2.3:5000\"\naddress = \"239.9.9.9:1\"\n";
    let errors = load_texts(&[name_taken], &arguments).unwrap_err();
    assert!(
        errors
            .to_string()
            .contains("another group has this address for a name"),
        "{errors}"
    );
}

#[test]
fn group_of_an_address_refuses_unicast_with_a_hint() {
    let refused = GroupSettings::for_address("10.0.0.1:1".parse().unwrap()).unwrap_err();
    assert!(refused.to_string().contains("unicast = true"), "{refused}");
    let group = GroupSettings::for_address("[ff15::1]:5000".parse().unwrap()).unwrap();
    assert_eq!(group.name, "[ff15::1]:5000");
}

#[test]
fn files_and_drop_ins_are_read_in_the_order_of_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let main = folder.path().join("exo.toml");
    let drop_ins = folder.path().join("exo.toml.d");
    fs::create_dir(&drop_ins).unwrap();
    fs::write(&main, "[monitor]\nlog = \"error\"\n").unwrap();
    fs::write(drop_ins.join("20-b.toml"), "[monitor]\nlog = \"debug\"\n").unwrap();
    fs::write(
        drop_ins.join("10-a.toml"),
        "[monitor]\nlog = \"warn\"\nspin = \"0s\"\n",
    )
    .unwrap();
    fs::write(drop_ins.join(".30-c.toml"), "[monitor]\nlog = \"off\"\n").unwrap();
    fs::write(drop_ins.join("notes.txt"), "not TOML").unwrap();
    let loaded = load(Some(&main), true, &Arguments::default()).unwrap();
    assert_eq!(loaded.config.monitor.log, "debug");
    assert_eq!(loaded.config.monitor.spin, Duration::ZERO);
    assert_eq!(loaded.files.len(), 3);

    fs::remove_file(&main).unwrap();
    let loaded = load(Some(&main), false, &Arguments::default()).unwrap();
    assert_eq!(
        loaded.config.monitor.log, "debug",
        "drop-ins do not need a main file"
    );
    let errors = load(Some(&main), true, &Arguments::default()).unwrap_err();
    assert!(
        matches!(errors.all()[0].place, Place::Whole { .. }),
        "{errors}"
    );
}

#[test]
fn file_that_is_not_text_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let main = folder.path().join("exo.toml");
    fs::write(&main, b"[monitor]\nlog = \"\xff\"\n").unwrap();
    let errors = load(Some(&main), true, &Arguments::default()).unwrap_err();
    assert!(
        errors.to_string().ends_with("save it as UTF-8 text"),
        "{errors}"
    );
    fs::remove_file(&main).unwrap();
    fs::create_dir(&main).unwrap();
    load(Some(&main), false, &Arguments::default()).unwrap_err();
}

#[test]
fn shown_configuration_reads_back_as_itself() {
    let mut config = Config::default();
    let mut group = GroupSettings::for_address("239.1.2.3:5000".parse().unwrap()).unwrap();
    group.may_join = Some(Allow {
        uid: vec![1],
        gid: vec![2],
        exe: vec!["/bin/x".into()],
    });
    group.may_send = Some(Allow::default());
    config.groups.push(group);
    let shown = toml::to_string(&config).unwrap();
    assert_eq!(self::config(&shown), config, "{shown}");
}

/// The keys that a schema knows, with `definition` found under `$defs`.
fn schema_keys(schema: &serde_json::Value, definition: &str) -> BTreeSet<String> {
    let table = if definition.is_empty() {
        schema
    } else {
        &schema["$defs"][definition]
    };
    assert_eq!(table["additionalProperties"], false);
    table["properties"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect()
}

#[test]
fn schema_and_reader_know_the_same_keys() {
    let schema = schema();
    let known = |table: &str, definition: &str| {
        let all = mistakes(&table.replace('?', "zzzzzzzzzzzzzzzz"));
        let keys = all[0]
            .split("the keys here are ")
            .nth(1)
            .unwrap()
            .split(", ");
        let keys: BTreeSet<_> = keys.map(str::to_owned).collect();
        assert_eq!(keys, schema_keys(&schema, definition), "{definition}");
    };
    known("? = 1", "");
    known("[monitor]\n? = 1", "MonitorSettings");
    known(
        "[[group]]\naddress = \"239.1.2.3:5\"\n? = 1",
        "GroupSettings",
    );
    known(
        "[[group]]\naddress = \"239.1.2.3:5\"\nslow_member.? = 1",
        "SlowMember",
    );
    known(
        "[[group]]\naddress = \"239.1.2.3:5\"\nmay_join.? = 1",
        "Allow",
    );
}

fn any_group(index: u16) -> impl Strategy<Value = GroupSettings> {
    let allow = || {
        proptest::option::of((
            proptest::collection::vec(0..u32::MAX - 1, 0..3),
            proptest::collection::vec(0..u32::MAX - 1, 0..3),
            proptest::collection::vec("/[a-z\"'\\\\ äß]{1,8}", 0..3),
        ))
        .prop_map(|lists| {
            lists.map(|(uid, gid, exe)| Allow {
                uid,
                gid,
                exe: exe.into_iter().map(PathBuf::from).collect(),
            })
        })
    };
    let policy = prop_oneof![
        Just(SlowPolicy::Throttle),
        Just(SlowPolicy::Gap),
        Just(SlowPolicy::Expel)
    ];
    (
        20_u32..=30,
        0_u64..3_600_000_000_000,
        policy,
        allow(),
        allow(),
        any::<bool>(),
    )
        .prop_map(
            move |(log_shift, wait_ns, policy, may_join, may_send, unicast)| {
                let ip = if unicast {
                    [10, 0, 0, 1]
                } else {
                    [239, 0, 0, 1]
                };
                let address = SocketAddr::from((ip, index + 1));
                GroupSettings {
                    unicast,
                    log_bytes: 1 << log_shift,
                    slow_member: SlowMember {
                        wait: Duration::from_nanos(wait_ns),
                        policy,
                    },
                    may_join,
                    may_send,
                    ..GroupSettings::with_defaults(address)
                }
            },
        )
}

fn any_config() -> impl Strategy<Value = Config> {
    (
        18_u32..=26,
        0_u64..10_000_000,
        "/[a-z\"\\\\ ä]{0,12}",
        (any_group(0), any_group(1), any_group(2)),
        any_ring(),
    )
        .prop_map(
            |(lane_shift, spin_ns, socket, (a, b, c), (ring, hosts))| Config {
                monitor: MonitorSettings {
                    socket: PathBuf::from(socket),
                    spin: Duration::from_nanos(spin_ns),
                    lane_bytes: 1 << lane_shift,
                    ..MonitorSettings::default()
                },
                ring,
                hosts,
                groups: vec![a, b, c],
            },
        )
}

fn any_ring() -> impl Strategy<Value = (RingSettings, Vec<HostSettings>)> {
    let transport = prop_oneof![
        Just(TransportKind::Auto),
        Just(TransportKind::UdpMulticast),
        Just(TransportKind::UdpBroadcast),
        Just(TransportKind::UdpCopies),
        Just(TransportKind::Tcp),
        Just(TransportKind::RawMulticast),
        Just(TransportKind::RawCopies),
    ];
    (
        transport,
        0_u8..5,
        any::<bool>(),
        any::<bool>(),
        any::<u16>(),
    )
        .prop_map(|(transport, count, encryption, is_safe, number)| {
            let listeners = u8::from(is_safe && count > 2);
            let hosts = (0..count).map(move |index| HostSettings {
                name: format!("host{index}"),
                address: SocketAddr::from(([10, 0, 0, index + 1], 7946)),
                mac: Some(libexo::transport::MacAddress([2, 0, 0, 0, 0, index])),
                listens: index + listeners >= count,
            });
            let ring = RingSettings {
                number: number.into(),
                host: (count > 0).then(|| "host0".to_owned()),
                transport,
                probe_port: is_safe.then_some(number),
                broadcast: Some([10, 0, 0, 255].into()),
                key_file: Some(PathBuf::from("/etc/exo/ring.key")),
                encryption,
                deliver: if is_safe { Level::Safe } else { Level::Agreed },
                minority: if is_safe {
                    Minority::Fail
                } else {
                    Minority::Block
                },
                ..RingSettings::default()
            };
            (ring, hosts.collect())
        })
}

/// A tree of small tables, so that keys meet often.
fn any_table() -> impl Strategy<Value = toml::Table> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(toml::Value::from),
        (0_i64..9).prop_map(toml::Value::from),
        "[a-c]{0,2}".prop_map(toml::Value::from),
    ];
    let value = leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            proptest::collection::btree_map("[a-c]", inner.clone(), 0..3)
                .prop_map(|entries| toml::Value::Table(entries.into_iter().collect())),
            proptest::collection::vec(inner, 0..3).prop_map(toml::Value::Array),
        ]
    });
    proptest::collection::btree_map("[a-c]", value, 0..4)
        .prop_map(|entries| entries.into_iter().collect())
}

/// What merging means, said in the other way.
fn merged_values(base: &toml::Table, over: &toml::Table) -> toml::Table {
    let mut merged = base.clone();
    for (key, value) in over {
        let value = match (base.get(key), value) {
            (Some(toml::Value::Table(base)), toml::Value::Table(over)) => {
                toml::Value::Table(merged_values(base, over))
            }
            (Some(toml::Value::Array(base)), toml::Value::Array(over))
                if !base.is_empty()
                    && !over.is_empty()
                    && base.iter().chain(over).all(toml::Value::is_table) =>
            {
                toml::Value::Array(base.iter().chain(over).cloned().collect())
            }
            (_, value) => value.clone(),
        };
        merged.insert(key.clone(), value);
    }
    merged
}

fn value_of(node: &tree::Node) -> toml::Value {
    match &node.value {
        tree::Value::Table(table) => toml::Value::Table(table_of(table)),
        tree::Value::Array(items) => toml::Value::Array(items.iter().map(value_of).collect()),
        tree::Value::String(text) => toml::Value::from(text.as_str()),
        tree::Value::Integer(number) => toml::Value::from(number.unwrap()),
        tree::Value::Boolean(truth) => toml::Value::from(*truth),
        tree::Value::Other(kind) => panic!("{kind} was not generated"),
    }
}

fn table_of(table: &tree::Table) -> toml::Table {
    table
        .entries
        .iter()
        .map(|entry| (entry.key.clone(), value_of(&entry.node)))
        .collect()
}

proptest! {
    #[test]
    fn whatever_is_shown_reads_back(config in any_config()) {
        let shown = toml::to_string(&config).unwrap();
        let read = load_text(&shown).map_err(|errors| TestCaseError::fail(errors.to_string()))?;
        prop_assert_eq!(read.config, config);
    }

    #[test]
    fn merging_is_table_by_table(base in any_table(), over in any_table()) {
        let mut sources = Sources::default();
        sources.add(Path::new("base"), toml::to_string(&base).unwrap());
        sources.add(Path::new("over"), toml::to_string(&over).unwrap());
        let (mut merged, mistakes) = tree::parse(&sources, 0);
        prop_assert!(mistakes.is_empty());
        let (over_tree, mistakes) = tree::parse(&sources, 1);
        prop_assert!(mistakes.is_empty());
        merge::merge(&mut merged, over_tree);
        prop_assert_eq!(table_of(&merged), merged_values(&base, &over));
    }

    /// Every byte of a file is somebody else's: an answer or an error with a place, never a panic.
    #[test]
    fn no_text_stops_the_reader(text in "(\\[|\\]|\\[\\[group\\]\\]|[a-z_]+|=|\"|\n|[0-9.:]+|ä|\\{|\\}|,| |\r)*") {
        if let Err(errors) = load_text(&text) {
            prop_assert!(!errors.to_string().is_empty());
        }
    }

    #[test]
    fn no_damage_to_a_good_file_stops_the_reader(at in 0_usize..400, with in any::<char>()) {
        let good = toml::to_string(&Config {
            groups: vec![GroupSettings::for_address("239.1.2.3:5000".parse().unwrap()).unwrap()],
            ..Config::default()
        }).unwrap();
        let damaged: String = good
            .chars()
            .enumerate()
            .map(|(index, c)| if index == at { with } else { c })
            .collect();
        if let Err(errors) = load_text(&damaged) {
            prop_assert!(!errors.to_string().is_empty());
        }
    }
}
