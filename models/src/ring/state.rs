//! What hosts hold and send, what is agreed, and what can be wrong about it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::letter;

/// A set of hosts.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Hosts(u8);

impl Hosts {
    /// Whether `host` is in it.
    #[must_use]
    pub const fn contains(self, host: u8) -> bool {
        self.0 & (1 << host) != 0
    }

    /// How many they are.
    #[must_use]
    pub const fn count(self) -> usize {
        self.0.count_ones() as usize
    }

    pub(super) const fn insert(&mut self, host: u8) {
        self.0 |= 1 << host;
    }

    pub(super) const fn remove(&mut self, host: u8) {
        self.0 &= !(1 << host);
    }

    pub(super) const fn extend(&mut self, others: Self) {
        self.0 |= others.0;
    }

    const fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }
}

impl FromIterator<u8> for Hosts {
    fn from_iter<I: IntoIterator<Item = u8>>(hosts: I) -> Self {
        let mut set = Self::default();
        hosts.into_iter().for_each(|host| set.insert(host));
        set
    }
}

impl fmt::Display for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let members = (0..8).filter(|host| self.contains(*host));
        members.map(letter).collect::<String>().fmt(f)
    }
}

/// A count that the bounds of a search keep small.
pub(super) fn small(count: usize) -> u8 {
    u8::try_from(count).expect("searches are small")
}

/// Raises each life to the other vector's.
pub(super) fn merge(lives: &mut [u8], others: &[u8]) {
    for (life, other) in lives.iter_mut().zip(others) {
        *life = (*life).max(*other);
    }
}

/// What a turn says.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Content {
    /// From the next position on, the ring is this.
    View {
        /// Its author.
        by: u8,
        /// The members.
        ring: Hosts,
    },
    /// A message.
    Message {
        /// Its author.
        source: u8,
        /// In which of its lives, from 0.
        life: u8,
        /// 1 for the first message of that life.
        number: u8,
    },
}

/// A turn in a log.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Entry {
    /// The epoch in which it was written.
    pub epoch: u8,
    /// What it says.
    pub content: Content,
}

impl Entry {
    /// Who wrote it.
    #[must_use]
    pub const fn author(&self) -> u8 {
        match self.content {
            Content::View { by, .. } => by,
            Content::Message { source, .. } => source,
        }
    }
}

/// What a host promises with: its life, the lives that it knows, its whole log.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Promise {
    /// Who promises.
    pub from: u8,
    /// In which life.
    pub life: u8,
    /// The highest life known of each host.
    pub lives: Vec<u8>,
    /// Its log.
    pub log: Vec<Entry>,
}

/// An attempt to found an epoch.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Campaign {
    /// Its number.
    pub epoch: u8,
    /// The lives known when promises were asked for.
    pub lives: Vec<u8>,
    /// The restarted hosts known then.
    pub joiners: Hosts,
    /// The promises so far, one of each host.
    pub promises: Vec<Promise>,
}

/// A host.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Host {
    /// Counts its restarts without memory.
    pub life: u8,
    /// False from such a restart until an epoch has admitted it.
    pub has_memory: bool,
    /// The highest epoch promised.
    pub promised: u8,
    /// The epoch that it is in.
    pub joined: u8,
    /// Its turns, from position 0.
    pub log: Vec<Entry>,
    /// How many of them are agreed.
    pub agreed: usize,
    /// The highest life known of each host.
    pub lives: Vec<u8>,
    /// Restarted hosts that asked to come in.
    pub joiners: Hosts,
    /// Its attempt to found an epoch.
    pub campaign: Option<Campaign>,
}

impl Host {
    fn new(hosts: usize) -> Self {
        Self {
            life: 0,
            has_memory: true,
            promised: 0,
            joined: 0,
            log: Vec::new(),
            agreed: 0,
            lives: vec![0; hosts],
            joiners: Hosts::default(),
            campaign: None,
        }
    }

    pub(super) fn promise(&self, who: u8) -> Promise {
        Promise {
            from: who,
            life: self.life,
            lives: self.lives.clone(),
            log: self.log.clone(),
        }
    }

    pub(super) fn enter(&mut self, epoch: u8, log: Vec<Entry>, lives: &[u8], ring: Hosts) {
        self.promised = epoch;
        self.joined = epoch;
        self.log = log;
        self.campaign = None;
        self.joiners = self.joiners.without(ring);
        merge(&mut self.lives, lives);
    }

    /// Loses everything but the count of its lives, and says which one begins.
    pub(super) fn restart(&mut self, who: u8, forgets_that_too: bool) -> u8 {
        let life = self.life + 1;
        *self = Self::new(self.lives.len());
        self.life = life;
        self.lives[usize::from(who)] = life;
        self.has_memory = forgets_that_too;
        life
    }
}

/// What hosts send, each to all.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Frame {
    /// The author's next turn.
    Turn {
        /// The epoch.
        epoch: u8,
        /// The position.
        position: usize,
        /// Epoch of the turn below, 0 if there is none.
        epoch_below: u8,
        /// What it says.
        content: Content,
    },
    /// A founder asks for promises.
    Prepare {
        /// The epoch to be founded.
        epoch: u8,
        /// The founder.
        from: u8,
        /// Its life.
        life: u8,
        /// The lives that it knows.
        lives: Vec<u8>,
    },
    /// A host promises.
    Promise {
        /// The epoch.
        epoch: u8,
        /// Its founder.
        to: u8,
        /// The founder's life.
        to_life: u8,
        /// The promise.
        promise: Promise,
    },
    /// An epoch begins.
    Install {
        /// The epoch.
        epoch: u8,
        /// The founder's log with the epoch's first turn.
        log: Vec<Entry>,
        /// The life in which each host may take part.
        admitted: Vec<u8>,
        /// The lives known to the founder and those that promised.
        lives: Vec<u8>,
    },
    /// A host that restarted without memory wishes to come in.
    Join {
        /// The host.
        from: u8,
        /// Its life.
        life: u8,
    },
}

impl Frame {
    /// Who sent it.
    #[must_use]
    pub fn sender(&self) -> u8 {
        match self {
            Self::Turn { content, .. } => Entry {
                epoch: 0,
                content: *content,
            }
            .author(),
            Self::Prepare { from, .. } | Self::Join { from, .. } => *from,
            Self::Promise { promise, .. } => promise.from,
            Self::Install { log, .. } => log.last().expect("it ends in the epoch's view").author(),
        }
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = letter(self.sender());
        match self {
            Self::Turn {
                epoch,
                position,
                content,
                ..
            } => {
                write!(f, "takes {from}'s turn {position} of epoch {epoch}")?;
                match content {
                    Content::Message { life, .. } if *life > 0 => write!(f, ", life {life}"),
                    Content::Message { .. } | Content::View { .. } => Ok(()),
                }
            }
            Self::Prepare { epoch, .. } => write!(f, "promises epoch {epoch}"),
            Self::Promise { epoch, .. } => write!(f, "gets {from}'s promise of epoch {epoch}"),
            Self::Install { epoch, .. } => write!(f, "enters epoch {epoch}"),
            Self::Join { life, .. } => write!(f, "hears of life {life} of {from}"),
        }
    }
}

/// A step of one host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Action {
    /// It writes a message.
    Write(u8),
    /// It takes a frame.
    Take(u8, Arc<Frame>),
    /// It asks for promises.
    Campaign(u8),
    /// It has enough of them and begins its epoch.
    Found(u8),
    /// It restarts without memory.
    Restart(u8),
    /// It writes that it leaves the ring.
    Leave(u8),
    /// It writes that another host is in the ring again.
    Admit(u8, u8),
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write(who) => write!(f, "{} writes", letter(*who)),
            Self::Take(who, frame) => write!(f, "{} {frame}", letter(*who)),
            Self::Campaign(who) => write!(f, "{} asks for promises", letter(*who)),
            Self::Found(who) => write!(f, "{} founds its epoch", letter(*who)),
            Self::Restart(who) => write!(f, "{} restarts without memory", letter(*who)),
            Self::Leave(who) => write!(f, "{} leaves", letter(*who)),
            Self::Admit(who, other) => {
                write!(f, "{} admits {}", letter(*who), letter(*other))
            }
        }
    }
}

/// What the first host to agree on a position saw there, and in which epoch.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Chosen {
    /// The turn.
    pub entry: Entry,
    /// The epoch that the host was in.
    pub in_epoch: u8,
}

/// What must not happen.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Fault {
    /// Two hosts agreed on different turns for one position.
    Disagreement,
    /// A host gave up what it had agreed on.
    AgreedCut,
    /// One message was agreed at two positions.
    AgreedTwice,
    /// A sender's message was agreed without those before it.
    OutOfOrder,
    /// One (epoch, position) has two contents, or two logs below it.
    TwoContents,
    /// A founder's log lacks what was agreed in an older epoch.
    AgreedMissing,
}

/// All hosts and all frames.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct State {
    /// By id. Shared with the state before, as far as nothing has changed.
    pub hosts: Vec<Arc<Host>>,
    /// Every frame ever sent.
    pub frames: BTreeSet<Arc<Frame>>,
    /// The order.
    pub chosen: Vec<Chosen>,
    /// What went wrong; nothing happens after it.
    pub fault: Option<Fault>,
    pub(super) campaigns: u8,
    pub(super) restarts: u8,
    pub(super) ring_changes: u8,
}

impl State {
    pub(super) fn new(hosts: u8) -> Self {
        let host = Arc::new(Host::new(usize::from(hosts)));
        Self {
            hosts: vec![host; usize::from(hosts)],
            frames: BTreeSet::new(),
            chosen: Vec::new(),
            fault: None,
            campaigns: 0,
            restarts: 0,
            ring_changes: 0,
        }
    }

    pub(super) fn host_mut(&mut self, who: u8) -> &mut Host {
        Arc::make_mut(&mut self.hosts[usize::from(who)])
    }

    pub(super) fn send(&mut self, frame: Frame) {
        self.frames.insert(Arc::new(frame));
    }

    /// Compares what a host agrees on with what others did, or makes it the order.
    pub(super) fn judge_agreed(&mut self, who: u8) {
        let host = &self.hosts[usize::from(who)];
        for (position, entry) in host.log[..host.agreed].iter().enumerate() {
            if let Some(chosen) = self.chosen.get(position) {
                if chosen.entry != *entry {
                    self.fault = Some(Fault::Disagreement);
                }
                continue;
            }
            if let Content::Message {
                source,
                life,
                number,
            } = entry.content
            {
                let is_of_that_life = |chosen: &&Chosen| match chosen.entry.content {
                    Content::Message {
                        source: other,
                        life: other_life,
                        ..
                    } => (other, other_life) == (source, life),
                    Content::View { .. } => false,
                };
                let before = self.chosen.iter().filter(is_of_that_life).count();
                if self
                    .chosen
                    .iter()
                    .any(|chosen| chosen.entry.content == entry.content)
                {
                    self.fault = Some(Fault::AgreedTwice);
                } else if usize::from(number) != before + 1 {
                    self.fault = Some(Fault::OutOfOrder);
                }
            }
            self.chosen.push(Chosen {
                entry: *entry,
                in_epoch: host.joined,
            });
        }
    }

    pub(super) fn judge_matching(&mut self) {
        for (index, one) in self.hosts.iter().enumerate() {
            for other in &self.hosts[..index] {
                let (one, other) = (&one.log, &other.log);
                let common = one.len().min(other.len());
                let last_equal = (0..common)
                    .rev()
                    .find(|at| one[*at].epoch == other[*at].epoch);
                if let Some(last) = last_equal
                    && one[..=last] != other[..=last]
                {
                    self.fault = Some(Fault::TwoContents);
                }
            }
        }
    }

    pub(super) fn judge_founder(&mut self, epoch: u8, log: &[Entry]) {
        let mut positions = self.chosen.iter().enumerate();
        let holds = positions.all(|(position, chosen)| {
            chosen.in_epoch >= epoch || log.get(position) == Some(&chosen.entry)
        });
        if !holds {
            self.fault = Some(Fault::AgreedMissing);
        }
    }
}
