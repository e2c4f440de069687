//! The import rules of the workspace, as checks of its text.
//!
//! A failing check names file and line. What a rule forgives stands in the rule, with its reason.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("a workspace")
        .to_path_buf()
}

/// Rust files below `folder`, as paths from the root.
fn rust_files(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries {
            let path = entry.expect("a readable folder").path();
            if path.is_dir() {
                if path.file_name().is_none_or(|name| name != "target") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let path = path.strip_prefix(root()).expect("below the root");
                found.push(path.to_str().expect("our names are plain").to_owned());
            }
        }
    }
    found.sort();
    found
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The code of a line: without comment and without what stands in quotation marks.
fn code(line: &str) -> String {
    let mut code = String::new();
    let mut rest = line;
    while let Some(at) = rest.find(['"', '/']) {
        if rest[at..].starts_with("//") {
            return code + &rest[..at];
        }
        code.push_str(&rest[..at]);
        if rest[at..].starts_with('/') {
            code.push('/');
            rest = &rest[at + 1..];
            continue;
        }
        let after = &rest[at + 1..];
        let mut end = None;
        let mut escaped = false;
        for (index, letter) in after.char_indices() {
            match letter {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => {
                    end = Some(index);
                    break;
                }
                _ => {}
            }
        }
        code.push_str("\"\"");
        rest = end.map_or("", |end| &after[end + 1..]);
    }
    code + rest
}

/// Whether `word` stands in `code` and is not part of a longer name.
fn mentions(code: &str, word: &str) -> bool {
    let is_name = |letter: char| letter.is_alphanumeric() || letter == '_';
    code.match_indices(word).any(|(at, _)| {
        let (before, after) = (&code[..at], &code[at + word.len()..]);
        !before.ends_with(is_name) && !after.starts_with(is_name)
    })
}

/// Lines of code below `folder`, up to the tests of a file, that mention one of `words`.
fn offenders(folder: &str, words: &[&str], forgiven: &[&str]) -> String {
    let mut list = String::new();
    for path in rust_files(folder) {
        if forgiven.contains(&path.as_str()) || path.ends_with("/tests.rs") {
            continue;
        }
        for (index, line) in text(&path).lines().enumerate() {
            if line.contains("#[cfg(test)]") {
                break;
            }
            let code = code(line);
            for word in words {
                if mentions(&code, word) {
                    writeln!(list, "{path}:{}: {word}", index + 1).expect("a string takes it");
                }
            }
        }
    }
    list
}

#[track_caller]
fn assert_none(list: &str, rule: &str) {
    assert!(list.is_empty(), "{rule}:\n{list}");
}

#[test]
fn engine_knows_no_memory_socket_thread_or_clock() {
    let words = [
        "shm",
        "transport",
        "control",
        "client",
        "std::net",
        "std::fs",
        "std::thread",
        "rustix",
        "libc",
        "Instant",
        "SystemTime",
        "rand",
    ];
    assert_none(
        &offenders("libexo/src/engine", &words, &[]),
        "engine is a state machine",
    );
}

#[test]
fn frames_are_bytes_and_types_without_state_of_an_engine() {
    let words = [
        "engine",
        "shm",
        "transport",
        "control",
        "client",
        "std::net",
        "std::fs",
        "std::thread",
        "rustix",
        "libc",
        "Instant",
        "SystemTime",
    ];
    assert_none(
        &offenders("libexo/src/wire", &words, &[]),
        "wire imports ids only",
    );
}

#[test]
fn simulator_knows_no_clock_socket_or_thread() {
    let words = [
        "std::net",
        "std::fs",
        "std::thread",
        "rustix",
        "libc",
        "Instant",
        "SystemTime",
        "shm",
        "client",
        "control",
    ];
    assert_none(
        &offenders("sim/src", &words, &[]),
        "a schedule depends on its seed alone",
    );
}

#[test]
fn shared_memory_knows_no_engine_and_no_control() {
    let words = ["engine", "control", "client", "wire", "transport"];
    assert_none(
        &offenders("libexo/src/shm", &words, &[]),
        "shm imports ids, time and sync",
    );
}

#[test]
fn journal_knows_bytes_and_positions_only() {
    let words = [
        "engine",
        "transport",
        "control",
        "client",
        "shm",
        "std::net",
        "std::thread",
        "Instant",
        "SystemTime",
        "rand",
    ];
    assert_none(
        &offenders("libexo/src/journal", &words, &[]),
        "journal imports ids",
    );
    // One file speaks to the file system; the rest runs over a disk that fails as a test wants.
    let forgiven = ["libexo/src/journal/storage.rs"];
    assert_none(
        &offenders(
            "libexo/src/journal",
            &["std::fs", "rustix", "libc"],
            &forgiven,
        ),
        "files are journal::storage's",
    );
}

#[test]
fn transport_knows_addresses_and_lengths_and_no_meaning() {
    let words = [
        "crate::engine",
        "crate::wire",
        "crate::shm",
        "crate::control",
        "crate::client",
        "std::fs",
        "std::thread",
        "Instant",
        "SystemTime",
        "rand",
    ];
    assert_none(
        &offenders("libexo/src/transport", &words, &[]),
        "transport imports ids, time, quorum, and for its ring sync",
    );
}

#[test]
fn client_and_control_know_no_engine() {
    let words = ["crate::engine", "crate::wire", "crate::transport"];
    assert_none(
        &offenders("libexo/src/client", &words, &[]),
        "client imports ids, control, shm",
    );
    assert_none(
        &offenders("libexo/src/control", &words, &[]),
        "control imports ids",
    );
    // But for the type that owns a descriptor, which must be closed without entering a hook.
    let shm = offenders(
        "libexo/src/control",
        &["crate::shm"],
        &["libexo/src/control/channel.rs"],
    );
    assert_none(&shm, "control carries words");
}

#[test]
fn what_runs_in_other_programs_uses_neither_files_nor_threads_of_std() {
    // The operator's side of the protocol runs in the command line only.
    let forgiven = ["libexo/src/control/operator.rs"];
    let words = [
        "std::fs",
        "std::net",
        "std::thread",
        "println",
        "eprintln",
        "OwnedFd::from",
    ];
    for room in ["shm", "control", "client"] {
        let list = offenders(&format!("libexo/src/{room}"), &words, &forgiven);
        assert_none(
            &list,
            "system calls of our own go through rustix's raw backend",
        );
    }
    for file in ["ids", "sync", "time", "quorum"] {
        let list = offenders(&format!("libexo/src/{file}.rs"), &words, &[]);
        assert_none(&list, "plain values");
    }
}

#[test]
fn atomics_of_libexo_come_from_sync() {
    let forgiven = [
        // Takes them from core or loom for all others.
        "libexo/src/sync.rs",
        // `AtomicPtr` to what only this process maps; nothing of it is shared memory.
        "libexo/src/client/socket.rs",
        // The futex call of the system wants the word's own type.
        "libexo/src/client/turn.rs",
        // `compiler_fence`, against handlers on the same thread; loom has none.
        "libexo/src/shm/submit_ring.rs",
    ];
    let words = ["core::sync::atomic", "std::sync::atomic"];
    assert_none(
        &offenders("libexo/src", &words, &forgiven),
        "atomics come from crate::sync",
    );
}

#[test]
fn unsafe_code_lives_in_listed_rooms() {
    let rooms = [
        "libexo/src/shm/",
        "libexo/src/client/",
        "libexo/src/control/channel.rs",
        "libexo/src/transport/arrivals.rs",
        "libexo/src/transport/mmsg.rs",
        "libexo/src/transport/packet_ring.rs",
        "libexo/src/transport/runs.rs",
        "libexo/src/transport/system.rs",
        "monitor/src/mapped.rs",
        "monitor/src/engine_thread/life.rs",
        "monitor/src/engine_thread/meminfo.rs",
        // The descriptor that the starter of a private monitor hands over by number.
        "monitor/src/bin/exod.rs",
        "shim/src/",
    ];
    let mut list = String::new();
    for folder in [
        "libexo/src",
        "monitor/src",
        "monitor/cli/src",
        "shim/src",
        "sim/src",
        "models/src",
    ] {
        for line in offenders(folder, &["unsafe"], &[]).lines() {
            if !rooms.iter().any(|room| line.starts_with(room)) {
                writeln!(list, "{line}").expect("a string takes it");
            }
        }
    }
    assert_none(&list, "unsafe outside the listed rooms");
}

#[test]
fn programs_do_not_import_each_other() {
    let none: &[&str] = &[];
    assert_none(
        &offenders("shim/src", &["exo_monitor", "exo_cli"], none),
        "shim imports libexo",
    );
    assert_none(
        &offenders("monitor/src", &["exo_shim", "exo_cli"], none),
        "monitor, too",
    );
    for folder in ["bench", "compat-tests"] {
        let words = ["libexo", "exo_monitor", "exo_shim", "exo_cli"];
        assert_none(
            &offenders(folder, &words, none),
            "it runs binaries, as users do",
        );
    }
}

#[test]
fn command_line_uses_operator_messages_settings_and_keys_only() {
    let rooms = ["exo_monitor::config", "exo_monitor::key_file"];
    let mut list = String::new();
    for path in rust_files("monitor/cli/src") {
        for (index, line) in text(&path).lines().enumerate() {
            let code = code(line);
            let other_library =
                code.contains("libexo::") && !code.contains("libexo::control::operator");
            let other_monitor =
                code.contains("exo_monitor::") && !rooms.iter().any(|room| code.contains(room));
            if other_library || other_monitor {
                writeln!(list, "{path}:{}", index + 1).expect("a string takes it");
            }
        }
    }
    assert_none(
        &list,
        "exo imports libexo::control::operator, exo_monitor::config and exo_monitor::key_file",
    );
}

#[test]
fn models_stand_by_themselves_and_nothing_stands_on_them() {
    let words = [
        "libexo",
        "exo_sim",
        "exo_monitor",
        "std::net",
        "std::fs",
        "std::thread",
        "Instant",
        "SystemTime",
    ];
    assert_none(
        &offenders("models/src", &words, &[]),
        "a model is written from the rules, not from the engine",
    );
    for folder in ["libexo", "monitor", "monitor/cli", "shim", "sim"] {
        let manifest = text(&format!("{folder}/Cargo.toml"));
        assert!(
            !manifest.contains("exo-models") && !manifest.contains("stateright"),
            "{folder} depends on the models or their checker"
        );
    }
}

/// Names below `[dependencies]` of a manifest.
fn dependencies(manifest: &str) -> Vec<String> {
    let text = text(manifest);
    text.lines()
        .skip_while(|line| line.trim() != "[dependencies]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .filter(|name| !name.is_empty() && !name.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

#[test]
fn shim_links_what_is_listed_and_nothing_else() {
    // Each of these runs inside every program that Exo serves.
    assert_eq!(
        dependencies("shim/Cargo.toml"),
        ["ctor", "libc", "libexo", "rustix"]
    );
    let of_the_engine = ["aes-gcm-siv", "blake3", "crc32c", "twox-hash"];
    let mut library = dependencies("libexo/Cargo.toml");
    library.retain(|name| !of_the_engine.contains(&name.as_str()));
    assert_eq!(library, ["libc", "rustix", "thiserror"]);
    let manifest = text("libexo/Cargo.toml");
    for name in of_the_engine {
        assert!(
            manifest.contains(&format!("{name} = {{ workspace = true, optional = true }}")),
            "{name} comes with a feature only"
        );
    }
    assert!(!manifest.contains("default = "), "nothing comes unasked");
    for other in ["shim/Cargo.toml", "examples/tail/Cargo.toml"] {
        assert!(
            text(other).contains("libexo.workspace = true"),
            "{other} asks for no feature of libexo"
        );
    }
    for manifest in ["bench/Cargo.toml", "compat-tests/Cargo.toml"] {
        for name in dependencies(manifest) {
            assert!(
                !name.starts_with("exo") && name != "libexo",
                "{manifest} depends on {name}"
            );
        }
    }
}

#[test]
fn nothing_is_left_for_later() {
    // Put together here, so that this file does not find itself.
    let marks = [
        ["TO", "DO"],
        ["FIX", "ME"],
        ["XX", "X"],
        ["todo", "!("],
        ["for", " now"],
    ];
    let mut list = String::new();
    for folder in [
        "libexo",
        "monitor",
        "shim",
        "sim",
        "models",
        "bench",
        "compat-tests",
        "examples",
    ] {
        for path in rust_files(folder) {
            for (index, line) in text(&path).lines().enumerate() {
                for mark in &marks {
                    let mark = mark.concat();
                    let is_mark = if mark.ends_with('(') {
                        line.contains(&mark)
                    } else {
                        mentions(line, &mark)
                    };
                    // "Is rung for" and "now" have met by chance.
                    if is_mark {
                        writeln!(list, "{path}:{}: {mark}", index + 1).expect("a string takes it");
                    }
                }
            }
        }
    }
    assert_none(&list, "a mark that somebody forgot");
}

#[test]
fn every_module_says_what_it_is_for() {
    let mut list = String::new();
    for folder in [
        "libexo/src",
        "monitor/src",
        "shim/src",
        "sim/src",
        "models/src",
    ] {
        for path in rust_files(folder) {
            let text = text(&path);
            let mut inside_attribute = false;
            let first = text.lines().find(|line| {
                let starts = line.starts_with("#![");
                let is_attribute = starts || inside_attribute;
                if is_attribute {
                    inside_attribute = !line.ends_with(")]") && !line.ends_with("\"]");
                }
                !is_attribute && !line.trim().is_empty()
            });
            let is_tests = path.ends_with("/tests.rs");
            if !is_tests && !first.is_some_and(|line| line.starts_with("//!")) {
                writeln!(list, "{path}").expect("a string takes it");
            }
        }
    }
    assert_none(&list, "a module begins with `//!`");
}

/// Names of the functions that the shim puts in the place of others.
fn hooks() -> Vec<String> {
    let mut names = Vec::new();
    for path in rust_files("shim/src/hooks") {
        for line in text(&path).lines() {
            let after = line
                .trim_start()
                .strip_prefix("pub unsafe extern \"C\" fn ")
                .or_else(|| line.trim_start().strip_prefix("pub extern \"C\" fn "))
                .or_else(|| line.strip_prefix("listed!("));
            if let Some(name) = after.and_then(|after| after.split(['(', ',']).next())
                && name != "$name"
            {
                names.push(name.to_owned());
            }
        }
    }
    names
}

#[test]
fn every_intercepted_call_is_documented() {
    let names = hooks();
    assert!(names.len() > 50, "the hooks were not found: {names:?}");
    let document = text("docs/shim.md");
    let missing: Vec<_> = names
        .iter()
        .filter(|name| !document.contains(&format!("`{name}`")))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/shim.md does not mention {missing:?}"
    );
}

#[test]
fn rules_see_code_and_not_comments() {
    assert_eq!(code("let a = b; // unsafe"), "let a = b; ");
    assert_eq!(code("f(\"unsafe // \\\" x\", y)"), "f(\"\", y)");
    assert!(mentions("use crate::shm::log;", "shm") && !mentions("shmem", "shm"));
}
