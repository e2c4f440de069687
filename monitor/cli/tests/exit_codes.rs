//! What `exo` answers without a monitor: texts, documents and exit codes.
//!
//! Where `exo run` needs a daemon, a shell script stands in for it; `compat-tests` has the real one.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A place of its own for one test: no monitor, no installed files, no inherited settings.
struct World {
    folder: TempDir,
}

impl World {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, contents).unwrap();
        path
    }

    /// An executable file. Another process writes it: a descriptor of ours could be open in a child
    /// of another test just when the file is executed, which the kernel refuses.
    fn program(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let source = self.file(&format!("{name}.source"), contents);
        self.copy(&source, name, 0o755)
    }

    fn copy(&self, source: &Path, name: &str, mode: u32) -> PathBuf {
        let path = self.path(name);
        let copied = Command::new("cp").args([source, &path]).status().unwrap();
        assert!(copied.success());
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn exo(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_exo"));
        for variable in ["EXO_SHIM", "EXO_EXOD", "EXO_REQUIRE", "LD_PRELOAD"] {
            command.env_remove(variable);
        }
        command.env("EXO_SOCKET", self.path("nobody.sock"));
        command.env("XDG_RUNTIME_DIR", self.folder.path());
        command
    }

    /// Runs `exo` with words.
    fn run(&self, words: &str) -> Answer {
        let words: Vec<_> = words
            .split_whitespace()
            .map(|word| word.replace('@', &self.folder.path().display().to_string()))
            .collect();
        Answer::of(self.exo().args(words))
    }
}

struct Answer {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Answer {
    fn of(command: &mut Command) -> Self {
        let Output {
            status,
            stdout,
            stderr,
        } = command.output().unwrap();
        Self {
            code: status.code().unwrap(),
            stdout: String::from_utf8(stdout).unwrap(),
            stderr: String::from_utf8(stderr).unwrap(),
        }
    }

    #[track_caller]
    fn expect(&self, code: i32, stdout: &str, stderr: &str) {
        let Self {
            stdout: out,
            stderr: err,
            ..
        } = self;
        assert_eq!(self.code, code, "stdout: {out}\nstderr: {err}");
        assert!(out.contains(stdout), "no {stdout:?} in stdout: {out}");
        assert!(err.contains(stderr), "no {stderr:?} in stderr: {err}");
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap()
    }
}

/// A static program that ends with 42.
#[cfg(target_arch = "x86_64")]
fn static_program() -> Vec<u8> {
    let code: &[u8] = &[0xbf, 42, 0, 0, 0, 0xb8, 60, 0, 0, 0, 0x0f, 0x05]; // exit(42)
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    file.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    for word in [0x40_0078_u64, 64, 0] {
        file.extend(word.to_le_bytes());
    }
    file.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 64, 0, 0, 0, 0, 0]);
    file.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    for word in [0, 0x40_0000_u64, 0x40_0000, 132, 132, 4096] {
        file.extend(word.to_le_bytes());
    }
    file.extend(code);
    file
}

#[test]
fn commands_that_ask_end_with_3_when_no_monitor_runs() {
    let world = World::new();
    for command in ["status", "groups", "members", "sockets"] {
        world.run(command).expect(3, "", "no monitor is running at");
    }
    let answer = world.run("status --json");
    answer.expect(3, "exo.error/1", "start a private one");
    assert_eq!(answer.json()["exit"], 3);
}

#[test]
fn usage_errors_end_with_2() {
    let world = World::new();
    world.run("").expect(2, "", "Usage");
    world.run("sttus").expect(2, "", "status");
    world.run("run").expect(2, "", "PROGRAM");
    world.run("why").expect(2, "", "PID");
    world
        .run("run -g 239.1.2.3 -- true")
        .expect(2, "", "write ADDRESS:PORT");
    world
        .run("run -g 10.0.0.1:5 -- true")
        .expect(2, "", "unicast = true");
}

#[test]
fn options_of_the_program_are_left_to_the_program() {
    let world = World::new();
    world
        .run("run no-such-program --json -g x")
        .expect(127, "", "is in no folder of PATH");
}

#[test]
fn run_tells_missing_from_unusable_programs() {
    let world = World::new();
    world.file("data", "x");
    world
        .run("run --require -- no-such-program")
        .expect(127, "", "no folder of PATH");
    world
        .run("run -- @/no-such-program")
        .expect(127, "", "does not exist");
    world
        .run("run -- @/data")
        .expect(126, "", "is not executable");
    world.run("run -- @").expect(126, "", "is a folder");
}

#[test]
#[cfg(target_arch = "x86_64")]
fn static_program_is_refused_when_required_and_else_runs() {
    let world = World::new();
    world.program("static", static_program());
    let refused = world.run("run --require -g 239.1.2.3:5000 -- @/static");
    refused.expect(126, "", "statically linked");
    assert_eq!(refused.stderr.lines().count(), 1, "{}", refused.stderr);
    let ran = world.run("run -g 239.1.2.3:5000 -- @/static");
    ran.expect(42, "", "running it without Exo");
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
}

#[test]
fn set_uid_program_is_refused_when_required_and_else_runs() {
    let world = World::new();
    world.copy(Path::new("/bin/true"), "true", 0o4755);
    world
        .run("run --require -- @/true")
        .expect(126, "", "set-uid");
    world.run("run -- @/true").expect(0, "", "set-uid");
}

#[test]
fn run_without_shim_or_monitor_ends_with_125() {
    let world = World::new();
    let missing = Answer::of(
        world
            .exo()
            .env("EXO_SHIM", "/nowhere.so")
            .args(["run", "true"]),
    );
    missing.expect(125, "", "EXO_SHIM is /nowhere.so");
    let shim = world.file("libexo_shim.so", "");
    let alone = Answer::of(
        world
            .exo()
            .env("EXO_SHIM", &shim)
            .args(["run", "--", "true"]),
    );
    alone.expect(125, "", "name a group with -g");
}

#[test]
fn shim_that_the_loader_ignores_is_refused_when_required() {
    let world = World::new();
    let shim = world.file("libexo_shim.so", "");
    let answer = Answer::of(world.exo().env("EXO_SHIM", &shim).args([
        "run",
        "--require",
        "-g",
        "239.1.2.3:5000",
        "--",
        "true",
    ]));
    answer.expect(125, "", "cannot be loaded into programs: ");
    assert_eq!(answer.stderr.lines().count(), 1, "{}", answer.stderr);
}

/// `exo run -g … -- sh -c SCRIPT` with a script for a daemon.
fn run_with_daemon(world: &World, daemon: &str, socket: &Path, script: &str) -> Answer {
    let shim = world.file("libexo_shim.so", "");
    let daemon = world.program("exod", format!("#!/bin/bash\n{daemon}"));
    let mut command = world.exo();
    command
        .env("EXO_SHIM", shim)
        .env("EXO_EXOD", daemon)
        .arg("--socket")
        .arg(socket);
    Answer::of(command.args(["run", "-g", "239.1.2.3:5000", "--", "sh", "-c", script]))
}

#[test]
fn private_monitor_is_started_as_nobodys_child() {
    let world = World::new();
    let socket = world.path("private/exod.sock");
    let daemon = "echo \"$@ preload=$LD_PRELOAD\" > ${2%/*}/called\n\
                  while [ $1 != --ready-fd ]; do shift; done; eval \"printf x >&$2\"; \
                  exec sleep 3\n";
    let answer = run_with_daemon(
        &world,
        daemon,
        &socket,
        "echo $EXO_SOCKET $LD_PRELOAD; exit 7",
    );
    answer.expect(7, &socket.display().to_string(), "");
    assert!(
        answer.stdout.contains("/libexo_shim.so"),
        "{}",
        answer.stdout
    );
    let called = fs::read_to_string(world.path("private/called")).unwrap();
    let expected = format!("--socket {} --idle-exit 10s --ready-fd", socket.display());
    assert!(called.starts_with(&expected), "{called}");
    assert!(
        called.trim_end().ends_with("-g 239.1.2.3:5000 preload="),
        "{called}"
    );

    // A program that waits for all its children does not wait for the monitor.
    let script = "read -r child < /proc/$$/task/$$/children; test -z \"$child\"";
    run_with_daemon(&world, daemon, &world.path("other/exod.sock"), script).expect(0, "", "");
}

#[test]
fn private_monitor_inherits_nothing_that_others_wait_for() {
    let world = World::new();
    let socket = world.path("private/exod.sock");
    let daemon = "while [ $1 != --ready-fd ]; do shift; done; ls -l /proc/$$/fd > @/fds; \
                  eval \"printf x >&$2\"; exec sleep 3\n";
    let daemon = daemon.replace('@', &world.folder.path().display().to_string());
    let shim = world.file("libexo_shim.so", "");
    let daemon = world.program("exod", format!("#!/bin/bash\n{daemon}"));
    let script = format!(
        "exec 9> {}; {} --socket {} run -g 239.1.2.3:5000 -- true",
        world.path("left-open").display(),
        env!("CARGO_BIN_EXE_exo"),
        socket.display()
    );
    let mut command = Command::new("bash");
    command
        .env("EXO_SHIM", shim)
        .env("EXO_EXOD", daemon)
        .args(["-c", &script]);
    Answer::of(&mut command).expect(0, "", "");
    let fds = fs::read_to_string(world.path("fds")).unwrap();
    assert!(
        fds.contains("exod.log") && !fds.contains("left-open"),
        "{fds}"
    );
}

#[test]
fn private_monitor_that_ends_at_once_is_quoted() {
    let world = World::new();
    let socket = world.path("private/exod.sock");
    let answer = run_with_daemon(
        &world,
        "echo no ring today >&2; exit 1\n",
        &socket,
        "exit 0",
    );
    answer.expect(125, "", "ended as it started: no ring today");
}

#[test]
fn folder_that_is_open_to_others_is_refused() {
    let world = World::new();
    let folder = world.path("private");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    let answer = run_with_daemon(&world, "exit 0\n", &folder.join("exod.sock"), "exit 0");
    answer.expect(125, "", "is open to others (mode 777) (chmod 700");
}

#[test]
fn config_check_reports_every_mistake_with_its_place() {
    let world = World::new();
    world.file(
        "exo.toml",
        "[monitor]\nsockt = \"/x\"\n[[group]]\naddress = \"10.0.0.1:5\"\n",
    );
    let answer = world.run("config check @/exo.toml");
    answer.expect(
        1,
        "exo.toml:2:1: unknown key `sockt` in [monitor]; did you mean `socket`?",
        "",
    );
    answer.expect(1, "exo.toml:4:11: 10.0.0.1 is not a multicast address", "");
    let document = world.run("config check --json @/exo.toml").json();
    assert_eq!(document["schema"], "exo.config-check/1");
    assert_eq!(document["errors"][0]["place"]["line"], 2);
    assert_eq!(document["errors"][0]["place"]["column"], 1);
    world
        .run("config show @/exo.toml")
        .expect(1, "exo.toml:2:1", "");
    world
        .run("config check @/missing.toml")
        .expect(1, "missing.toml: cannot be read", "");
}

#[test]
fn config_show_prints_what_config_check_accepts() {
    let world = World::new();
    world.file(
        "exo.toml",
        "[[group]]\nname = \"orders\"\naddress = \"239.1.2.3:5000\"\n",
    );
    world
        .run("config check @/exo.toml")
        .expect(0, "ok: 1 group", "");
    let shown = world.run("config show @/exo.toml");
    shown.expect(0, "log = \"8MiB\"", "");
    world.file("shown.toml", &shown.stdout);
    assert_eq!(world.run("config show @/shown.toml").stdout, shown.stdout);
    let origins = world.run("config show --origin @/exo.toml");
    origins.expect(0, "exo.toml:3:11", "");
    origins.expect(0, "default", "");
}

#[test]
fn config_schema_is_json() {
    let answer = World::new().run("config schema");
    assert_eq!(answer.json()["title"], "exo.toml");
}

#[test]
fn why_answers_for_programs_without_running_them() {
    let world = World::new();
    world.run("why -- sh").expect(0, "can be served", "");
    world
        .run("why -- no-such-program")
        .expect(1, "", "no folder of PATH");
    let script = world.program(
        "script",
        format!("#!/bin/sh\ntouch {}/ran\n", world.path("").display()),
    );
    world
        .run("why -- @/script")
        .expect(0, "(run by /bin/sh): can be served", "");
    assert!(script.exists() && !world.path("ran").exists());
    let document = world.run("why --json -- sh").json();
    assert_eq!(document["schema"], "exo.why-program/1");
    assert_eq!(document["can_be_served"], true);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn why_names_what_stands_in_the_way() {
    let world = World::new();
    world.program("static", static_program());
    world
        .run("why -- @/static")
        .expect(5, "statically linked", "");
}

#[test]
fn why_answers_for_processes() {
    let world = World::new();
    let own = std::process::id();
    world
        .run(&format!("why {own}"))
        .expect(5, "the shim is not loaded into it", "");
    world
        .run("why 4194305")
        .expect(1, "", "no process has the number");
    let document = world.run(&format!("why --json {own}")).json();
    assert_eq!(document["schema"], "exo.why-process/1");
    assert_eq!(document["shim_loaded"], false);
}

#[test]
fn doctor_finds_a_missing_shim() {
    let world = World::new();
    let answer = Answer::of(world.exo().env("EXO_SHIM", "/nowhere.so").arg("doctor"));
    answer.expect(5, "EXO_SHIM is /nowhere.so", "");
    let mut command = world.exo();
    let document = Answer::of(
        command
            .env("EXO_SHIM", "/nowhere.so")
            .args(["doctor", "--json"]),
    )
    .json();
    assert_eq!(document["schema"], "exo.doctor/1");
    let checks = document["checks"].as_array().unwrap();
    let shim = checks.iter().find(|check| check["name"] == "shim").unwrap();
    assert_eq!(shim["level"], "fail");
}

#[test]
fn schedules_are_run_counted_and_replayed() {
    let world = World::new();
    let ran = world.run("sim run --schedules 3 --hosts 3 --jobs 2");
    ran.expect(0, "power cut of all", "3 of 3 schedules");
    assert_eq!(ran.stdout.lines().last(), Some("3 schedules, 0 violations"));
    let document = world.run("sim run --schedules 3 --hosts 3 --json").json();
    assert_eq!(document["schema"], "exo.sim-run/1");
    assert_eq!(document["schedules"], 3);
    assert_eq!(document["violations"].as_array().unwrap().len(), 0);
    assert!(ran.stdout.contains(document["history"].as_str().unwrap()));

    let replayed = world.run("sim replay 2 --hosts 3");
    replayed.expect(0, "the faults end", "");
    let traced = world.run("sim replay 2 --hosts 3 --trace");
    traced.expect(0, "<A turn", "");
    let document = world.run("sim replay 2 --hosts 3 --json").json();
    assert_eq!(document["schema"], "exo.sim-replay/1");
    assert_eq!(document["hosts"], 3);

    // What is printed is the schedule itself.
    let printed = world.run("sim replay 2 --hosts 3 --print");
    world.file("printed", &printed.stdout);
    let again = world.run("sim replay --scenario @/printed");
    assert_eq!(again.stdout, replayed.stdout);
}

#[test]
fn broken_expectation_of_a_scenario_ends_with_1() {
    let world = World::new();
    let story = "hosts 3\nat 300ms submit A m\nat 900ms expect missing m at B\nend 1s\n";
    world.file("story", story);
    let answer = world.run("sim replay --scenario @/story");
    answer.expect(1, "does not hold: expectation: missing m at B", "");
    world.file("nonsense", "hosts 3\nat 1s sing\n");
    let answer = world.run("sim replay --scenario @/nonsense --json");
    answer.expect(1, "line 2: nobody can", "docs/testing.md");
    world.run("sim replay").expect(2, "", "SEED");
    world
        .run("sim run --hosts 1")
        .expect(2, "", "a number from 2 to 26");
    world
        .run("sim run --schedules 0")
        .expect(2, "", "--schedules");
}

#[test]
fn version_and_completions_need_nobody() {
    let world = World::new();
    world
        .run("version")
        .expect(0, env!("CARGO_PKG_VERSION"), "");
    world
        .run("--version")
        .expect(0, env!("CARGO_PKG_VERSION"), "");
    assert_eq!(world.run("version --json").json()["monitor"], Value::Null);
    for shell in ["bash", "zsh", "fish"] {
        world
            .run(&format!("completions {shell}"))
            .expect(0, "doctor", "");
    }
}

#[test]
fn sim_rack_prints_tables_documents_and_pictures() {
    let world = World::new();
    let text = world.run("sim rack --hosts 5 --plot @/rack.svg");
    text.expect(0, "A ring of 5", "");
    let picture = fs::read_to_string(world.path("rack.svg")).unwrap();
    assert!(picture.starts_with("<svg "), "{picture}");
    let document = world.run("sim rack --hosts 5 --json").json();
    assert_eq!(document["schema"], "exo.sim-rack/1");
    assert_eq!(document["hosts"], 5);
    assert_eq!(document["rings"][4]["setup"]["path"], "offload");
    assert_eq!(document["rings"][4]["timing"]["rotation_ns"], 2000.0);
    world
        .run("sim rack --plot @/no/such/folder.svg")
        .expect(1, "", "name a file in a folder");
    world.run("sim rack --hosts 2").expect(2, "", "3..=256");
}

#[test]
fn reader_that_has_seen_enough_is_no_error() {
    let world = World::new();
    let script = format!("{} completions bash | head -c 1", env!("CARGO_BIN_EXE_exo"));
    let answer = Answer::of(Command::new("bash").args(["-o", "pipefail", "-c", &script]));
    answer.expect(0, "", "");
    drop(world);
}

#[test]
fn keygen_writes_a_key_for_its_owner_and_prints_its_fingerprint_only() {
    let world = World::new();
    let made = world.run("keygen --out @/key");
    made.expect(0, "fingerprint", "");
    let key = fs::read_to_string(world.path("key")).unwrap();
    assert!(key.starts_with("exo-key-1:") && key.lines().count() == 1);
    let digits = key.split(':').nth(1).unwrap();
    assert!(!made.stdout.contains(&digits[..8]), "{}", made.stdout);
    let mode = fs::metadata(world.path("key"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o600);

    world.run("keygen --out @/key").expect(1, "", "--force");
    assert_eq!(fs::read_to_string(world.path("key")).unwrap(), key);
    world
        .run("keygen --out @/key --force")
        .expect(0, "fingerprint", "");
    assert_ne!(fs::read_to_string(world.path("key")).unwrap(), key);
    world
        .run("keygen --out @/none/key")
        .expect(1, "", "a folder that you can write");
    world.run("keygen --force").expect(2, "", "--out");

    let again = world.run("keygen --json --fingerprint @/key").json();
    let fingerprint = again["fingerprint"].as_str().unwrap();
    world
        .run("keygen --fingerprint @/key")
        .expect(0, fingerprint, "");
    assert!(again["key"].is_null());
    world
        .run("keygen --fingerprint @/none")
        .expect(1, "", "cannot read the key");
    let source = world.file("cut.source", &key[..40]);
    world.copy(&source, "cut", 0o644);
    let cut = world.run("keygen --fingerprint @/cut");
    cut.expect(1, "", "chmod 600");
}

#[test]
fn keygen_prints_a_key_where_no_file_is_named() {
    let world = World::new();
    let printed = world.run("keygen");
    printed.expect(0, "exo-key-1:", "fingerprint");
    assert_eq!(printed.stdout.lines().count(), 1);
    let document = world.run("keygen --json").json();
    assert_eq!(document["schema"], "exo.keygen/1");
    assert!(document["key"].as_str().unwrap().starts_with("exo-key-1:"));
    let filed = world.run("keygen --json --out @/key").json();
    assert!(filed["key"].is_null());
    assert_eq!(filed["fingerprint"].as_str().unwrap().len(), 19);
}

#[test]
fn keygen_takes_the_steps_of_a_change_in_their_order_only() {
    let world = World::new();
    world.run("keygen --out @/key").expect(0, "fingerprint", "");
    let keys = || {
        let shown = world.run("keygen --json --fingerprint @/key").json();
        let keys = shown["keys"].as_array().unwrap().clone();
        let word = |key: &Value, field: &str| key[field].as_str().unwrap().to_owned();
        let all = keys.iter();
        all.map(|key| (word(key, "role"), word(key, "fingerprint")))
            .collect::<Vec<_>>()
    };
    let first = keys()[0].1.clone();
    for early in ["--switch", "--drop"] {
        let refused = world.run(&format!("keygen {early} @/key"));
        refused.expect(1, "", "exo keygen --add");
    }
    world.run("keygen --add @/key").expect(0, "exo reload", "");
    let added = keys();
    let second = added[1].1.clone();
    assert_eq!(
        added,
        [
            ("current".into(), first.clone()),
            ("next".into(), second.clone())
        ]
    );
    for early in ["--add", "--drop"] {
        let refused = world.run(&format!("keygen {early} @/key"));
        refused.expect(1, "", "exo keygen --switch");
    }
    let switched = world.run("keygen --switch @/key");
    switched.expect(0, "exo keygen --drop", "");
    assert_eq!(
        keys(),
        [("current".into(), second.clone()), ("old".into(), first)]
    );
    for early in ["--add", "--switch"] {
        let refused = world.run(&format!("keygen {early} @/key"));
        refused.expect(1, "", "exo keygen --drop");
    }
    world.run("keygen --drop @/key").expect(0, &second, "");
    assert_eq!(keys(), [("current".into(), second)]);
    world
        .run("keygen --add @/none")
        .expect(1, "", "cannot read");
    world
        .run("keygen --add @/key --force")
        .expect(2, "", "--force");
    world
        .run("keygen --add @/key --drop @/key")
        .expect(2, "", "--drop");
    world.run("reload").expect(3, "", "no monitor");
}
