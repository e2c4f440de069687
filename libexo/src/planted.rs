//! Mistakes that can be planted into the ring, to see whether the simulator finds them.
//!
//! Each is one that a programmer could make: a line of the engine asks `is` for it at the place
//! where it would stand. Without the feature `planted` the answer is a constant, and nothing of
//! this is in a program. With it a thread plants one mistake before it starts hosts; only
//! `sim/tests/planted.rs` asks for the feature (`docs/planted.md`).

/// Whether this build can hold mistakes. The programs refuse to be compiled if so.
pub const IS_POSSIBLE: bool = cfg!(feature = "planted");

/// Whether this mistake is made here.
#[cfg(not(feature = "planted"))]
#[inline(always)]
pub(crate) const fn is(_: Mistake) -> bool {
    false
}

#[cfg(feature = "planted")]
pub use thread::plant;

#[cfg(feature = "planted")]
pub(crate) use thread::is;

#[cfg(feature = "planted")]
mod thread {
    use core::cell::Cell;

    use super::Mistake;

    std::thread_local! {
        static PLANTED: Cell<Option<Mistake>> = const { Cell::new(None) };
    }

    /// Engines of this thread make this mistake from here on, and no other.
    pub fn plant(mistake: Option<Mistake>) {
        PLANTED.set(mistake);
    }

    /// Whether this mistake is made here.
    pub(crate) fn is(mistake: Mistake) -> bool {
        PLANTED.get() == Some(mistake)
    }
}

macro_rules! mistakes {
    ($($name:ident: $rule:literal, $file:literal, $what:literal;)*) => {
        /// What can be planted.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum Mistake {
            $(#[doc = $what] $name,)*
        }

        #[cfg(feature = "planted")]
        impl Mistake {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Its name in tables.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }

            /// The rule of `docs/ring.md` that it breaks.
            #[must_use]
            pub const fn rule(self) -> &'static str {
                match self {
                    $(Self::$name => $rule,)*
                }
            }

            /// Where it is made: below `libexo/src/engine/ring`, `wire/` below `libexo/src`.
            #[must_use]
            pub const fn file(self) -> &'static str {
                match self {
                    $(Self::$name => $file,)*
                }
            }

            /// What is done wrongly.
            #[must_use]
            pub const fn what(self) -> &'static str {
                match self {
                    $(Self::$name => $what,)*
                }
            }
        }
    };
}

mistakes! {
    EpochWithoutFounder: "R1", "member/epoch.rs", "the number of an epoch does not contain its founder";
    EpochFromJoined: "R1", "member/epoch.rs", "a founder counts on from the epoch that it works in, not from the highest promised";
    AssumesToken: "R2", "member/turns.rs", "after a silence a host takes the next turn in the same epoch, and the others accept it";
    OwnerOfOldRing: "R2", "log.rs", "the owner after a VIEW is looked up in the ring before it";
    TrimForgetsRing: "R2", "log.rs", "trimming a VIEW does not carry its ring to the base";
    LeaveBelowQuorum: "R2", "member/turns.rs", "a host leaves although fewer than a majority stay";
    QuorumLessOne: "R3", "agreement.rs", "one writer less than a majority agrees";
    WriterCountedTwice: "R3", "agreement.rs", "the last writer counts as builder and as holder";
    OldCopiesCount: "R3", "member/install.rs", "what hosts wrote in older epochs counts in the new one";
    RestartAgrees: "R3", "member/mod.rs", "a host that starts from its journal takes all of it for agreed";
    PromiserGoesOn: "R4", "member/mod.rs", "a host that promised a higher epoch works on in the older one";
    LowerPromise: "R4", "member/epoch.rs", "a request is compared with the epoch worked in, not with the one promised";
    StaleInstall: "R4", "member/install.rs", "the INSTALL of an epoch below the promised one is entered";
    OldInstall: "R4", "member/install.rs", "the INSTALL of an epoch that is over is entered again";
    PromiseUnsynced: "R4", "member/mod.rs", "a promise leaves before it is in the journal";
    PromiseUnrecorded: "R4", "member/mod.rs", "a promise does not go to the journal at all";
    RestartGoesOn: "R4", "member/mod.rs", "a host that starts from its journal works on in the epoch it was in";
    PromisesLessOne: "R5", "member/epoch.rs", "one promise less than a majority is enough to found";
    OwnTail: "R5", "member/epoch.rs", "a founder goes on from its own log without looking at the promised ones";
    PromiseTellsAgreed: "R5", "member/epoch.rs", "a promise names the agreed position instead of the tail";
    CommonByLength: "R5", "log.rs", "logs are taken for equal as far as both reach";
    CutTooFar: "R5", "member/install.rs", "one position too many is cut";
    CutTooLittle: "R5", "member/install.rs", "what lies above the common log is not cut";
    AmnesiacPromises: "R6", "member/epoch.rs", "a host without memory promises";
    AmnesiacWorks: "R6", "member/mod.rs", "a host that restarts without memory goes on as one that has it";
    WorksBeforeLog: "R6", "member/install.rs", "an admitted host counts as one with memory before it holds the log";
    SameIncarnation: "R6", "member/mod.rs", "a restart keeps the incarnation of its record";
    AdmitsUnknown: "R7", "member/epoch.rs", "an epoch admits incarnations that promisers had not heard of";
    AdmitsEarlierLife: "R7", "member/install.rs", "a host enters by an admission of its earlier incarnation";
    DeadPromisesCount: "R8", "member/epoch.rs", "promises of incarnations that are over count";
    VectorLowered: "R8", "member/incarnations.rs", "what a host says of incarnations replaces what is known";
    NothingSentAgain: "R9", "member/install.rs", "own messages of a tail that was cut are not sent again";
    AllSentAgain: "R9", "member/install.rs", "own messages are sent again although the new log has them";
    GapKeepsOwn: "R9", "member/install.rs", "own messages that lie in a gap are sent again";
    CutGoesOnInside: "R9", "member/install.rs", "a message cut by a change of epoch goes on in its middle";
    GapUntold: "I1", "member/install.rs", "a host does not say that it missed messages";
    TurnBeforeSync: "durable", "member/turns.rs", "a turn leaves before it is in the journal";
    UnsyncedCounts: "durable", "member/turns.rs", "a host counts its own tail before it is in the journal";
    CutStaysSynced: "durable", "member/journal.rs", "what was cut still counts as synced";
    SafeIsAgreed: "safe", "member/delivery.rs", "the level safe is taken for agreed";
    SilentHolds: "safe", "agreement.rs", "a member that wrote nothing yet counts as one that holds everything";
    DeliversTail: "agreed", "member/delivery.rs", "what is appended is delivered before it is agreed";
    TrimsAgreed: "safe", "member/delivery.rs", "what is agreed is trimmed although members lack it";
    BaseWithoutNumbers: "I9", "log.rs", "a base does not count the messages below it";
    NumbersGoOn: "I9", "member/delivery.rs", "the numbers of an earlier incarnation go on in the next";
    PartsAsTheyCome: "I3", "parts.rs", "parts of a turn are put together in the order in which they come";
    TurnWithHoles: "I6", "parts.rs", "a turn is complete when its last part is here";
    LastIgnored: "I9", "member/delivery.rs", "a fragment is delivered as if it were the whole message";
    FirstDoesNotDiscard: "I9", "member/delivery.rs", "a message that begins again is put behind its earlier fragments";
    GenerationsMixed: "0008", "member/receive.rs", "frames of another generation are let in";
    GoesOverToAny: "0008", "member/install.rs", "a host goes over to a generation in which nothing is agreed";
    CheckIgnored: "I3", "wire/header.rs", "the check of a frame is not compared";
    TagIgnored: "I3", "wire/auth.rs", "the tag of a frame is not compared";
    ParksEarly: "progress", "member/turns.rs", "the token rests although payload is not agreed yet";
    LossOnce: "progress", "member/repair.rs", "the others are asked once and never again";
}
