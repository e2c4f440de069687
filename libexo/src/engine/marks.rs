//! The marks of a log and the only functions that move them.

use crate::ids::Position;

/// `safe ≤ agreed ≤ tail` and `durable ≤ agreed`, each only growing while nothing is cut.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Marks {
    tail: Position,
    agreed: Position,
    durable: Position,
    safe: Position,
}

impl Marks {
    /// Last position appended here.
    #[must_use]
    pub const fn tail(&self) -> Position {
        self.tail
    }

    /// Last position whose content is final everywhere.
    #[must_use]
    pub const fn agreed(&self) -> Position {
        self.agreed
    }

    /// Last position that is final and on stable storage at a majority.
    #[must_use]
    pub const fn durable(&self) -> Position {
        self.durable
    }

    /// Last position that every member holds.
    #[must_use]
    pub const fn safe(&self) -> Position {
        self.safe
    }

    /// One more position was appended; returns it.
    pub fn extend(&mut self) -> Position {
        self.tail = self.tail.next();
        self.tail
    }

    /// The log ends at `position` from here on. What is agreed stays.
    pub fn cut(&mut self, position: Position) {
        assert!(
            self.agreed <= position && position <= self.tail,
            "cut to {position:?} of {self:?}"
        );
        self.tail = position;
    }

    /// Everything up to `position`, which lies beyond what is agreed, is final and held by every
    /// member, and nothing of it is here: the log begins again behind it.
    pub fn begin_after(&mut self, position: Position) {
        assert!(self.agreed <= position, "{position:?} lies in {self:?}");
        *self = Self {
            tail: position,
            agreed: position,
            durable: position,
            safe: position,
        };
    }

    /// Everything up to `position` is agreed. Earlier ones change nothing.
    pub fn agree(&mut self, position: Position) {
        assert!(
            position <= self.tail,
            "agreed {position:?} beyond tail {:?}",
            self.tail
        );
        self.agreed = self.agreed.max(position);
    }

    /// A majority has everything up to `position` on stable storage. Earlier ones change nothing.
    pub fn store(&mut self, position: Position) {
        let position = position.min(self.agreed);
        self.durable = self.durable.max(position);
    }

    /// Every member holds everything up to `position`. Earlier ones change nothing.
    pub fn secure(&mut self, position: Position) {
        let position = position.min(self.agreed);
        self.safe = self.safe.max(position);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_keep_their_order() {
        let mut marks = Marks::default();
        assert_eq!(marks.extend(), Position(1));
        marks.extend();
        marks.secure(Position(2));
        assert_eq!(
            marks.safe(),
            Position(0),
            "nothing is safe before it is agreed"
        );
        marks.agree(Position(1));
        marks.secure(Position(2));
        assert_eq!(
            (marks.safe(), marks.agreed(), marks.tail()),
            (Position(1), Position(1), Position(2))
        );
        marks.store(Position(2));
        assert_eq!(
            marks.durable(),
            Position(1),
            "nothing is durable before it is agreed"
        );
        marks.agree(Position(0));
        assert_eq!(marks.agreed(), Position(1), "agreement is never taken back");
    }

    #[test]
    #[should_panic(expected = "beyond tail")]
    fn nothing_is_agreed_before_it_is_appended() {
        Marks::default().agree(Position(1));
    }
}
