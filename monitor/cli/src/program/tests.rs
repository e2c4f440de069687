use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";

const PT_INTERP: u32 = 3;
const PT_NOTE: u32 = 4;

/// An ELF file of our machine with these segments and nothing else.
fn elf_file(segments: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let count = u16::try_from(segments.len()).unwrap();
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for half in [2, MACHINE.0.0] {
        file.extend(half.to_le_bytes());
    }
    file.extend(1_u32.to_le_bytes());
    for word in [0_u64, 64, 0] {
        file.extend(word.to_le_bytes());
    }
    file.extend(0_u32.to_le_bytes());
    for half in [64, 56, count, 64, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    assert_eq!(file.len(), 64);
    let mut offset = 64 + 56 * u64::from(count);
    for (kind, bytes) in segments {
        let length = bytes.len() as u64;
        file.extend(kind.to_le_bytes());
        file.extend(4_u32.to_le_bytes());
        for word in [offset, 0, 0, length, length, 4] {
            file.extend(word.to_le_bytes());
        }
        offset += length;
    }
    for (_, bytes) in segments {
        file.extend(bytes);
    }
    file
}

fn with_loader(loader: &str) -> (u32, Vec<u8>) {
    (PT_INTERP, format!("{loader}\0").into_bytes())
}

fn go_note() -> (u32, Vec<u8>) {
    let mut note = Vec::new();
    for word in [4_u32, 4, 4] {
        note.extend(word.to_le_bytes()); // lengths of name and description, type
    }
    note.extend(b"Go\0\0abcd");
    (PT_NOTE, note)
}

/// What stands in the way of a file with these bytes.
fn obstacles(bytes: &[u8]) -> Vec<Obstacle> {
    obstacles_with_mode(bytes, 0o755)
}

fn obstacles_with_mode(bytes: &[u8], mode: u32) -> Vec<Obstacle> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("program");
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    Program::inspect(&path).obstacles
}

#[test]
fn dynamic_program_of_glibc_can_be_served() {
    assert_eq!(obstacles(&elf_file(&[with_loader(LOADER)])), []);
    let own = env::current_exe().unwrap();
    assert_eq!(Program::inspect(&own).obstacles, []);
}

#[test]
fn program_without_a_loader_is_static() {
    assert_eq!(obstacles(&elf_file(&[])), [Obstacle::Static]);
}

#[test]
fn loader_of_another_libc_is_named() {
    let loader = "/lib/ld-musl-x86_64.so.1".to_owned();
    let found = obstacles(&elf_file(&[with_loader(&loader)]));
    assert_eq!(found, [Obstacle::ForeignLibc { loader }]);
}

#[test]
fn go_is_recognised_by_its_note_even_when_linked_dynamically() {
    assert_eq!(
        obstacles(&elf_file(&[with_loader(LOADER), go_note()])),
        [Obstacle::Go]
    );
    assert_eq!(
        obstacles(&elf_file(&[go_note()])),
        [Obstacle::Go, Obstacle::Static]
    );
}

#[test]
fn gained_rights_are_told_from_the_mode() {
    let file = elf_file(&[with_loader(LOADER)]);
    assert_eq!(obstacles_with_mode(&file, 0o4755), [Obstacle::SetUid]);
    assert_eq!(obstacles_with_mode(&file, 0o2755), [Obstacle::SetGid]);
    assert_eq!(
        obstacles_with_mode(&file, 0o6755),
        [Obstacle::SetUid, Obstacle::SetGid]
    );
    assert_eq!(
        obstacles_with_mode(&file, 0o2745),
        [],
        "without the group's x it means locking"
    );
}

#[test]
fn other_machines_are_named() {
    let mut file = elf_file(&[with_loader(LOADER)]);
    file[4] = 1; // 32 bits
    file[18..20].copy_from_slice(&3_u16.to_le_bytes());
    assert_eq!(
        obstacles(&file),
        [Obstacle::WrongArchitecture {
            machine: "32-bit x86".into()
        }]
    );
    file[18..20].copy_from_slice(&999_u16.to_le_bytes());
    let machine = "machine number 999".to_owned();
    assert_eq!(obstacles(&file), [Obstacle::WrongArchitecture { machine }]);
}

#[test]
fn damaged_files_are_unreadable_and_nothing_worse() {
    let file = elf_file(&[with_loader(LOADER), go_note()]);
    for length in 4..file.len() {
        // Some of them are only static: a cut in the middle of what nobody reads.
        assert_ne!(obstacles(&file[..length]), [], "cut to {length} bytes");
    }
    for at in 5..file.len() {
        let mut damaged = file.clone();
        damaged[at] ^= 0xff;
        obstacles(&damaged); // any answer will do
    }
}

#[test]
fn neither_elf_nor_text_is_no_program() {
    assert_eq!(obstacles(b"\x00\x01\x02"), [Obstacle::NotAProgram]);
    assert_eq!(obstacles(b"#!\n"), [Obstacle::NotAProgram]);
}

#[test]
fn scripts_are_followed_to_their_interpreter() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    fs::write(&inner, elf_file(&[])).unwrap();
    let outer = folder.path().join("outer");
    fs::write(&outer, format!("#! {} -x\nrest\n", inner.display())).unwrap();
    let program = Program::inspect(&outer);
    assert_eq!(program.executable, inner);
    assert_eq!(program.obstacles, [Obstacle::Static]);
    assert!(
        program.refusal().0.contains("(run by "),
        "{:?}",
        program.refusal()
    );

    fs::write(&outer, format!("#!{}\n", outer.display())).unwrap();
    assert_eq!(
        Program::inspect(&outer).obstacles,
        [Obstacle::NotAProgram],
        "a circle ends"
    );
}

#[test]
fn env_is_looked_through() {
    let program = |line: &str| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("script");
        fs::write(&path, format!("{line}\n")).unwrap();
        Program::inspect(&path)
    };
    let plain = program("#!/usr/bin/env sh");
    assert_eq!(plain.executable.file_name().unwrap(), "sh");
    assert_eq!(plain.obstacles, []);
    let split = program("#!/usr/bin/env -S A=1 sh -e");
    assert_eq!(split.executable.file_name().unwrap(), "sh");
    assert_eq!(
        program("#!/usr/bin/env -i sh").obstacles,
        [Obstacle::EmptyEnvironment]
    );
    let missing = program("#!/usr/bin/env no-such-interpreter");
    assert!(
        matches!(missing.obstacles[..], [Obstacle::Unreadable { .. }]),
        "{missing:?}"
    );
}

#[test]
fn text_without_an_interpreter_is_run_by_the_shell() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("script");
    fs::write(&path, "echo hello\n").unwrap();
    assert_eq!(Program::inspect(&path).executable, Path::new("/bin/sh"));
}

#[test]
fn programs_are_found_as_a_shell_finds_them() {
    assert!(matches!(
        Program::find(OsStr::new("no-such-program")),
        Err(FindError::NotFound(_))
    ));
    assert!(matches!(
        Program::find(OsStr::new("")),
        Err(FindError::NotFound(_))
    ));
    assert!(matches!(
        Program::find(OsStr::new("/tmp")),
        Err(FindError::NotExecutable(_))
    ));
    let passwd = Program::find(OsStr::new("/etc/passwd"));
    assert!(
        matches!(passwd, Err(FindError::NotExecutable(_))),
        "{passwd:?}"
    );
    let sh = Program::find(OsStr::new("sh")).unwrap();
    assert_eq!(sh.path.file_name().unwrap(), "sh");
}
