//! Single values: from what is written to what is meant, or to what is wrong with it.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use tracing_subscriber::EnvFilter;

use super::tree::{Node, Value};

const LOG_LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];
/// `sun_path` of `sockaddr_un`, less its final zero.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Names appear in tables, log lines and file names.
const NAME_BYTES_MAX: usize = 64;

/// What is wrong with one value; its place is added by who knows it.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Wrong {
    pub(super) what: String,
    pub(super) hint: String,
}

impl Wrong {
    pub(super) fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            hint: hint.into(),
        }
    }

    pub(super) fn kind(node: &Node, wanted: &str, example: &str) -> Self {
        let found = node.value.kind();
        Self::new(
            format!("{wanted} belongs here, not {found}"),
            format!("write {example}"),
        )
    }
}

/// The word that was probably meant, if any is near enough.
pub(super) fn nearest<'w>(written: &str, words: &[&'w str]) -> Option<&'w str> {
    let written = written.to_lowercase();
    words
        .iter()
        .map(|word| {
            (
                strsim::damerau_levenshtein(&written, &word.to_lowercase()),
                *word,
            )
        })
        .filter(|(distance, word)| *distance <= 3 && *distance < word.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// `text` as a TOML string.
pub(super) fn quote(text: &str) -> String {
    toml::Value::from(text).to_string()
}

pub(super) fn word_of<'w, T: PartialEq>(words: &[(&'w str, T)], value: &T) -> &'w str {
    words
        .iter()
        .find(|(_, known)| known == value)
        .map(|(word, _)| *word)
        .expect("every value has its word")
}

pub(super) fn one_of<T: Copy>(node: &Node, key: &str, words: &[(&str, T)]) -> Result<T, Wrong> {
    let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let text = string(node, &quote(known[0]))?;
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let all = known
        .iter()
        .map(|word| quote(word))
        .collect::<Vec<_>>()
        .join(", ");
    let hint = match nearest(text, &known) {
        _ if known.len() == 1 => format!("write {all}, the only one that exists today"),
        Some(likely) => format!("did you mean \"{likely}\"? It can be {all}"),
        None => format!("it can be {all}"),
    };
    Err(Wrong::new(
        format!("\"{text}\" is not a value of `{key}`"),
        hint,
    ))
}

pub(super) fn string<'n>(node: &'n Node, example: &str) -> Result<&'n str, Wrong> {
    match &node.value {
        Value::String(text) => Ok(text),
        _ => Err(Wrong::kind(node, "a string", example)),
    }
}

pub(super) fn boolean(node: &Node) -> Result<bool, Wrong> {
    match node.value {
        Value::Boolean(truth) => Ok(truth),
        _ => Err(Wrong::kind(node, "true or false", "it without quotes")),
    }
}

pub(super) fn id(node: &Node, thing: &str, command: &str) -> Result<u32, Wrong> {
    let number = match node.value {
        Value::Integer(number) => number.and_then(|number| u32::try_from(number).ok()),
        _ => {
            let wanted = format!("the number of a {thing}");
            return Err(Wrong::kind(
                node,
                &wanted,
                &format!("what `{command}` prints"),
            ));
        }
    };
    // The highest number is the kernel's "nobody in particular".
    number.filter(|number| *number != u32::MAX).ok_or_else(|| {
        let what = format!("no {thing} has this number");
        Wrong::new(what, format!("write what `{command}` prints"))
    })
}

pub(super) fn absolute_path(node: &Node) -> Result<PathBuf, Wrong> {
    let path = PathBuf::from(string(node, "an absolute path in quotes")?);
    if !path.is_absolute() {
        let what = format!("\"{}\" does not begin with /", path.display());
        return Err(Wrong::new(what, "write the whole path"));
    }
    Ok(path)
}

pub(super) fn socket_path(node: &Node) -> Result<PathBuf, Wrong> {
    let path = absolute_path(node)?;
    let length_bytes = path.as_os_str().len();
    if length_bytes > SOCKET_PATH_BYTES_MAX {
        return Err(Wrong::new(
            format!("a path of {length_bytes} bytes is too long for a socket"),
            format!("use one of at most {SOCKET_PATH_BYTES_MAX} bytes"),
        ));
    }
    Ok(path)
}

pub(super) fn log_filter(node: &Node) -> Result<String, Wrong> {
    check_log_filter(string(node, "\"info\"")?)
}

/// Stricter than the library, which takes a misspelt level for the name of a module; and gentler,
/// because spaces do not matter.
pub(super) fn check_log_filter(filter: &str) -> Result<String, Wrong> {
    let filter = filter.replace(' ', "");
    for part in filter.split(',') {
        let (target, level) = part.rsplit_once('=').unwrap_or(("", part));
        if target.is_empty() && part.contains('=') {
            return Err(Wrong::new(
                format!("\"{part}\" names no module"),
                "write MODULE=LEVEL or LEVEL",
            ));
        }
        if !LOG_LEVELS.contains(&level) {
            let hint = match nearest(level, LOG_LEVELS) {
                Some(likely) => format!("did you mean \"{likely}\"?"),
                None => format!("use one of {}, or MODULE=LEVEL", LOG_LEVELS.join(", ")),
            };
            return Err(Wrong::new(
                format!("\"{level}\" is not a level of logging"),
                hint,
            ));
        }
    }
    match EnvFilter::builder().parse(&filter) {
        Ok(_) => Ok(filter),
        Err(error) => Err(Wrong::new(
            format!("\"{filter}\" cannot be used: {error}"),
            "write MODULE=LEVEL or LEVEL",
        )),
    }
}

pub(super) fn group_name(node: &Node) -> Result<String, Wrong> {
    let name = string(node, "\"orders\"")?;
    let is_printable = |c: char| !c.is_whitespace() && !c.is_control();
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(is_printable) {
        return Err(Wrong::new(
            format!("{} cannot be the name of a group", quote(name)),
            format!("use 1 to {NAME_BYTES_MAX} characters without spaces"),
        ));
    }
    Ok(name.to_owned())
}

pub(super) fn parse_address(text: &str) -> Result<SocketAddr, Wrong> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let what = format!("\"{text}\" is not an address with a port");
    let hint = match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => format!("add the port: \"{ip}:5000\""),
        Ok(IpAddr::V6(ip)) => format!("add brackets and the port: \"[{ip}]:5000\""),
        Err(_) => "write numbers, such as \"239.1.2.3:5000\" or \"[ff15::1]:5000\"".to_owned(),
    };
    Err(Wrong::new(what, hint))
}

/// Whether sockets can be marked by this address.
pub(super) fn check_address(address: SocketAddr, unicast: bool) -> Result<(), Wrong> {
    let ip = address.ip();
    if let IpAddr::V6(v6) = ip
        && let Some(v4) = v6.to_ipv4_mapped()
    {
        let hint = format!("write \"{v4}:{}\"", address.port());
        return Err(Wrong::new(
            format!("{ip} is an IPv4 address in IPv6 clothes"),
            hint,
        ));
    }
    if address.port() == 0 {
        return Err(Wrong::new(
            "port 0 marks nothing",
            "give the port that the program uses",
        ));
    }
    if ip.is_unspecified() || ip == IpAddr::from([255, 255, 255, 255]) {
        let hint = "give the group's own address, such as \"239.1.2.3:5000\"";
        return Err(Wrong::new(
            format!("{ip} is not the address of a group"),
            hint,
        ));
    }
    if !ip.is_multicast() && !unicast {
        return Err(Wrong::new(
            format!("{ip} is not a multicast address"),
            "add unicast = true if it is meant, or give one in 224.0.0.0/4 or ff00::/8",
        ));
    }
    Ok(())
}
