//! Whether a program can be served, told from its file alone: nothing is ever run to find out.
//!
//! Preloading needs the dynamic loader of glibc to start the program and the program to make its
//! calls through libc. A script is followed to its interpreter, because that is what the kernel
//! starts.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use object::elf;
use object::read::elf::{FileHeader, ProgramHeader};
use object::{LittleEndian, ReadCache, ReadRef};
use rustix::fs::Access;
use serde::Serialize;

/// As many interpreters of interpreters as the kernel follows.
const SCRIPT_DEPTH_MAX: usize = 5;

/// As much of a script's first line as the kernel reads.
const SCRIPT_LINE_BYTES_MAX: usize = 256;

/// Sanitizer runtimes that end the program unless they are the first library of all.
const RUNTIMES_FIRST: &[&str] = &["libasan.so", "libtsan.so", "libhwasan.so"];

/// What the kernel's own tools do without `PATH`.
const PATH_DEFAULT: &str = "/bin:/usr/bin";

#[cfg(target_arch = "x86_64")]
const MACHINE: (elf::Machine, &str) = (elf::EM_X86_64, "x86-64");
#[cfg(target_arch = "aarch64")]
const MACHINE: (elf::Machine, &str) = (elf::EM_AARCH64, "AArch64");

/// A program as it would be started.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Program {
    /// What is executed: found in `PATH`, links followed as far as the name goes.
    pub(crate) path: PathBuf,
    /// The executable that the kernel starts in the end: the last interpreter, else `path`.
    pub(crate) executable: PathBuf,
    /// Why it cannot be served; empty if it can.
    pub(crate) obstacles: Vec<Obstacle>,
    /// The sanitizer runtimes that insist on being loaded first.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) runtimes_first: BTreeSet<String>,
}

/// Why a program cannot be served.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Obstacle {
    /// No dynamic loader, so nobody loads the shim.
    Static,
    /// The loader ignores preloads when the program gains rights.
    SetUid,
    /// The same.
    SetGid,
    /// The same.
    FileCapabilities,
    /// Go's runtime makes its system calls itself.
    Go,
    /// The shim is built for glibc.
    ForeignLibc { loader: String },
    /// The shim is built for one machine.
    WrongArchitecture { machine: String },
    /// Neither ELF nor a script.
    NotAProgram,
    /// `env -i` takes the shim out of the environment again.
    EmptyEnvironment,
    /// The file could not be read.
    Unreadable { error: String },
}

impl Obstacle {
    /// What to do about it.
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::Static => "use a dynamically linked build of it",
            Self::SetUid | Self::SetGid => {
                "take the bit from a copy of it (chmod ug-s) and run that as the right user"
            }
            Self::FileCapabilities => {
                "use a copy without them (cp drops them) and give it the rights in another way"
            }
            Self::Go => {
                "programs built by Go cannot be served yet; use a build whose sockets are libc's"
            }
            Self::ForeignLibc { .. } => "use a build of it for glibc",
            Self::WrongArchitecture { .. } => "use a build of it for this machine",
            Self::NotAProgram => "give an ELF executable or a script that begins with #!",
            Self::EmptyEnvironment => "leave -i out of the script's first line",
            Self::Unreadable { .. } => "install what is missing, or make it readable",
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Static => f.write_str("it is statically linked, so nothing can be preloaded"),
            Self::SetUid => f.write_str("it is set-uid, for which the loader ignores preloads"),
            Self::SetGid => f.write_str("it is set-gid, for which the loader ignores preloads"),
            Self::FileCapabilities => {
                f.write_str("it has file capabilities, for which the loader ignores preloads")
            }
            Self::Go => f.write_str("it is built by Go, which calls the kernel without libc"),
            Self::ForeignLibc { loader } => {
                write!(
                    f,
                    "it runs on a foreign libc (its loader is {loader}, not glibc's)"
                )
            }
            Self::WrongArchitecture { machine } => {
                write!(f, "it is for {machine}, the shim is for {}", MACHINE.1)
            }
            Self::NotAProgram => f.write_str("it is neither an ELF executable nor a script"),
            Self::EmptyEnvironment => f.write_str("its first line empties the environment"),
            Self::Unreadable { error } => write!(f, "what runs it cannot be read: {error}"),
        }
    }
}

/// Why there is nothing to start.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum FindError {
    /// No file of this name.
    NotFound(String),
    /// A file that this user cannot execute.
    NotExecutable(String),
}

impl Program {
    /// Finds `name` as a shell would and looks at what it is.
    ///
    /// # Errors
    ///
    /// There is no such program, or it cannot be executed.
    pub(crate) fn find(name: &OsStr) -> Result<Self, FindError> {
        let path = find_in_path(name)?;
        Ok(Self::inspect(&path))
    }

    /// Looks at a file, following scripts to their interpreters.
    pub(crate) fn inspect(path: &Path) -> Self {
        let mut program = Self {
            path: path.to_owned(),
            executable: path.to_owned(),
            obstacles: Vec::new(),
            runtimes_first: BTreeSet::new(),
        };
        if let Err(obstacle) = program.follow() {
            program.obstacles.push(obstacle);
        }
        program
    }

    /// What stands in the way and what to do about it, in one sentence each.
    ///
    /// # Panics
    ///
    /// If nothing stands in the way.
    pub(crate) fn refusal(&self) -> (String, &'static str) {
        let first = self
            .obstacles
            .first()
            .expect("only programs with obstacles are refused");
        let all: Vec<String> = self.obstacles.iter().map(ToString::to_string).collect();
        let shown = self.path.display();
        let via = if self.executable == self.path {
            String::new()
        } else {
            format!(" (run by {})", self.executable.display())
        };
        (
            format!("{shown}{via} cannot be served: {}", all.join("; ")),
            first.hint(),
        )
    }

    /// Walks from interpreter to interpreter to the ELF file that the kernel starts.
    fn follow(&mut self) -> Result<(), Obstacle> {
        for _ in 0..SCRIPT_DEPTH_MAX {
            let shown = self.executable.display().to_string();
            let unread = |error: io::Error| unreadable(format!("{shown}: {error}"));
            let head = read_head(&self.executable).map_err(unread)?;
            if head.starts_with(&elf::ELFMAG) {
                self.obstacles.extend(gained_rights(&self.executable));
                let file = File::open(&self.executable).map_err(unread)?;
                return self.read_elf(file);
            }
            self.executable = if let Some(line) = head.strip_prefix(b"#!") {
                interpreter(line)?
            } else if head.contains(&0) {
                return Err(Obstacle::NotAProgram);
            } else {
                PathBuf::from("/bin/sh") // what execvp does with text that names no interpreter
            };
        }
        Err(Obstacle::NotAProgram)
    }

    /// What the file itself says.
    fn read_elf(&mut self, file: File) -> Result<(), Obstacle> {
        let contents = ReadCache::new(file);
        check_machine(&contents)?;
        let elf = Elf::parse(&contents).map_err(unreadable)?;
        if elf.has_go_note {
            self.obstacles.push(Obstacle::Go);
        }
        match elf.loader {
            None => self.obstacles.push(Obstacle::Static),
            // ld-linux-x86-64.so.2, ld-linux-aarch64.so.1: in whatever folder.
            Some(loader)
                if !loader
                    .rsplit('/')
                    .next()
                    .unwrap_or("")
                    .starts_with("ld-linux") =>
            {
                self.obstacles.push(Obstacle::ForeignLibc { loader });
            }
            Some(_) => {}
        }
        let is_runtime = |name: &str| {
            RUNTIMES_FIRST
                .iter()
                .any(|runtime| name.starts_with(runtime))
        };
        self.runtimes_first = elf
            .needed
            .into_iter()
            .filter(|name| is_runtime(name))
            .collect();
        Ok(())
    }
}

fn unreadable(error: impl fmt::Display) -> Obstacle {
    Obstacle::Unreadable {
        error: error.to_string(),
    }
}

/// Finds an executable as `execvp` does.
fn find_in_path(name: &OsStr) -> Result<PathBuf, FindError> {
    let shown = name.display();
    if name.is_empty() {
        return Err(FindError::NotFound(
            "the name of the program is empty".to_owned(),
        ));
    }
    if name.as_bytes().contains(&b'/') {
        return executable(Path::new(name));
    }
    let folders = env::var_os("PATH").unwrap_or_else(|| PATH_DEFAULT.into());
    let mut refused = None;
    for folder in env::split_paths(&folders) {
        let folder = if folder.as_os_str().is_empty() {
            PathBuf::from(".")
        } else {
            folder
        };
        match executable(&folder.join(name)) {
            Ok(path) => return Ok(path),
            Err(FindError::NotExecutable(why)) => refused = refused.or(Some(why)),
            Err(FindError::NotFound(_)) => {}
        }
    }
    Err(match refused {
        Some(why) => FindError::NotExecutable(why),
        None => FindError::NotFound(format!("{shown} is in no folder of PATH")),
    })
}

fn executable(path: &Path) -> Result<PathBuf, FindError> {
    let shown = path.display();
    let metadata = fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => FindError::NotExecutable(format!("{shown}: {error}")),
        _ => FindError::NotFound(format!("{shown} does not exist")),
    })?;
    if metadata.is_dir() {
        return Err(FindError::NotExecutable(format!("{shown} is a folder")));
    }
    if rustix::fs::access(path, Access::EXEC_OK).is_err() {
        return Err(FindError::NotExecutable(format!(
            "{shown} is not executable"
        )));
    }
    Ok(path.to_owned())
}

fn read_head(path: &Path) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    File::open(path)?
        .take(SCRIPT_LINE_BYTES_MAX as u64)
        .read_to_end(&mut head)?;
    Ok(head)
}

/// The interpreter that a script's first line names, `env` looked through.
fn interpreter(line: &[u8]) -> Result<PathBuf, Obstacle> {
    let end = line
        .iter()
        .position(|byte| *byte == b'\n')
        .unwrap_or(line.len());
    let mut words = line[..end]
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
        .map(|word| OsString::from_vec(word.to_vec()));
    let interpreter = PathBuf::from(words.next().ok_or(Obstacle::NotAProgram)?);
    if interpreter.file_name() != Some(OsStr::new("env")) {
        return Ok(interpreter);
    }
    for word in words {
        let bytes = word.as_bytes();
        if bytes == b"-i" || bytes == b"-" || bytes == b"--ignore-environment" {
            return Err(Obstacle::EmptyEnvironment);
        }
        if !bytes.starts_with(b"-") && !bytes.contains(&b'=') {
            return find_in_path(&word).map_err(|error| match error {
                FindError::NotFound(error) | FindError::NotExecutable(error) => {
                    Obstacle::Unreadable { error }
                }
            });
        }
    }
    Err(Obstacle::NotAProgram)
}

/// Rights that a program gains make the loader ignore `LD_PRELOAD`.
///
/// That is so only for users who do gain something, but an answer that depends on who asks would
/// surprise the next user; so it is the same for all.
fn gained_rights(path: &Path) -> Vec<Obstacle> {
    const SET_UID: u32 = 0o4000;
    const SET_GID_OF_A_PROGRAM: u32 = 0o2010; // without the x it means locking
    let mut obstacles = Vec::new();
    let mode = fs::metadata(path).map_or(0, |metadata| metadata.mode());
    if mode & SET_UID != 0 {
        obstacles.push(Obstacle::SetUid);
    }
    if mode & SET_GID_OF_A_PROGRAM == SET_GID_OF_A_PROGRAM {
        obstacles.push(Obstacle::SetGid);
    }
    let mut value = [0_u8; 64];
    if rustix::fs::getxattr(path, "security.capability", &mut value).is_ok_and(|bytes| bytes > 0) {
        obstacles.push(Obstacle::FileCapabilities);
    }
    obstacles
}

/// Whether the file is for this machine, told from the first bytes of its header, which are the
/// same for 32 and 64 bits.
fn check_machine<'d>(contents: impl ReadRef<'d>) -> Result<(), Obstacle> {
    let head = contents
        .read_bytes_at(0, 20)
        .map_err(|()| unreadable("its header is cut off"))?;
    let is_little_endian = head[5] == elf::ELFDATA2LSB.0;
    let number = [head[18], head[19]];
    let number = if is_little_endian {
        u16::from_le_bytes(number)
    } else {
        u16::from_be_bytes(number)
    };
    if number == MACHINE.0.0 && is_little_endian && head[4] == elf::ELFCLASS64.0 {
        return Ok(());
    }
    let known = [
        (elf::EM_386, "32-bit x86"),
        (elf::EM_X86_64, "x86-64 with 32-bit addresses"),
        (elf::EM_ARM, "32-bit Arm"),
        (elf::EM_AARCH64, "AArch64"),
        (elf::EM_RISCV, "RISC-V"),
        (elf::EM_PPC64, "PowerPC"),
        (elf::EM_S390, "IBM Z"),
    ];
    let name = known.iter().find(|(machine, _)| machine.0 == number);
    let machine = name.map_or_else(
        || format!("machine number {number}"),
        |(_, name)| (*name).into(),
    );
    Err(Obstacle::WrongArchitecture { machine })
}

/// What matters of an ELF file.
struct Elf {
    /// The path in `PT_INTERP`.
    loader: Option<String>,
    /// The libraries that it is linked with.
    needed: Vec<String>,
    has_go_note: bool,
}

impl Elf {
    fn parse<'d, R: ReadRef<'d>>(contents: R) -> object::Result<Self> {
        let endian = LittleEndian;
        let header = elf::FileHeader64::<LittleEndian>::parse(contents)?;
        let mut read = Self {
            loader: None,
            needed: Vec::new(),
            has_go_note: false,
        };
        for segment in header.program_headers(endian, contents)? {
            if let Some(path) = segment.interpreter(endian, contents)? {
                read.loader = Some(String::from_utf8_lossy(path).into_owned());
            }
            if let Some(mut notes) = segment.notes(endian, contents)? {
                while let Some(note) = notes.next()? {
                    read.has_go_note |= note.name() == b"Go";
                }
            }
        }
        let sections = header.sections(endian, contents)?;
        let dynamic = sections.dynamic_table(endian, contents)?;
        for entry in &dynamic {
            if entry.tag == elf::DT_NEEDED {
                read.needed
                    .push(String::from_utf8_lossy(dynamic.string(entry)?).into_owned());
            }
        }
        read.has_go_note |= sections
            .section_by_name(endian, b".note.go.buildid")
            .is_some();
        Ok(read)
    }
}
