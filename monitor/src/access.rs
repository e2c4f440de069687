//! Who asks, and what they may do. The kernel says who; the configuration says what.

use std::path::PathBuf;

use crate::config::{Allow, GroupSettings};

/// A process, as the kernel names it when it connects.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    /// Process number.
    pub pid: i32,
    /// Effective user.
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
    /// Executable, if `/proc` shows it.
    pub exe: Option<PathBuf>,
    /// Command name.
    pub comm: String,
}

impl Identity {
    /// Reads what `/proc` says about `pid`.
    #[must_use]
    pub fn of(pid: i32, uid: u32, gid: u32) -> Self {
        let exe = std::fs::read_link(format!("/proc/{pid}/exe")).ok();
        let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        Self {
            pid,
            uid,
            gid,
            exe,
            comm: comm.trim_end().to_owned(),
        }
    }
}

/// What a process wants of a group.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wish {
    /// Receive its datagrams.
    Join,
    /// Submit datagrams.
    Send,
}

impl Wish {
    /// The word that operators read.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Send => "send",
        }
    }
}

/// Why a wish is refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "may_{wish} of group {group} names neither uid {uid}, nor gid {gid}, nor executable {exe}; \
     add one of them there to allow it", wish = .wish.name()
)]
pub struct Refusal {
    group: String,
    wish: Wish,
    uid: u32,
    gid: u32,
    exe: String,
}

/// Whether `who` may do `wish` with `group`.
///
/// # Errors
///
/// [`Refusal`], with the rule that decided.
pub fn check(group: &GroupSettings, wish: Wish, who: &Identity) -> Result<(), Refusal> {
    let rule = match wish {
        Wish::Join => &group.may_join,
        Wish::Send => &group.may_send,
    };
    let allows = |allow: &Allow| {
        allow.uid.contains(&who.uid)
            || allow.gid.contains(&who.gid)
            || who.exe.as_ref().is_some_and(|exe| allow.exe.contains(exe))
    };
    if rule.as_ref().is_none_or(allows) {
        return Ok(());
    }
    Err(Refusal {
        group: group.name.clone(),
        wish,
        uid: who.uid,
        gid: who.gid,
        exe: who
            .exe
            .as_ref()
            .map_or_else(|| "unknown".to_owned(), |exe| exe.display().to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(uid: u32, gid: u32, exe: &str) -> Identity {
        Identity {
            pid: 1,
            uid,
            gid,
            exe: Some(exe.into()),
            comm: "x".into(),
        }
    }

    #[test]
    fn absent_rule_allows_and_empty_rule_refuses() {
        let mut group =
            GroupSettings::for_address("239.1.2.3:5000".parse().unwrap()).expect("a group");
        assert_eq!(check(&group, Wish::Join, &who(1, 1, "/a")), Ok(()));
        group.may_join = Some(Allow::default());
        let refusal = check(&group, Wish::Join, &who(1, 2, "/a"))
            .unwrap_err()
            .to_string();
        assert!(
            refusal.contains("may_join of group 239.1.2.3:5000"),
            "{refusal}"
        );
        assert_eq!(
            check(&group, Wish::Send, &who(1, 1, "/a")),
            Ok(()),
            "another rule"
        );
    }

    #[test]
    fn one_matching_word_is_enough() {
        let mut group =
            GroupSettings::for_address("239.1.2.3:5000".parse().unwrap()).expect("a group");
        group.may_send = Some(Allow {
            uid: vec![7],
            gid: vec![8],
            exe: vec![PathBuf::from("/usr/bin/x")],
        });
        for allowed in [who(7, 0, "/a"), who(0, 8, "/a"), who(0, 0, "/usr/bin/x")] {
            assert_eq!(check(&group, Wish::Send, &allowed), Ok(()));
        }
        assert!(check(&group, Wish::Send, &who(0, 0, "/a")).is_err());
    }
}
