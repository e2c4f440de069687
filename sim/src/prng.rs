//! The seeded generator (splitmix64).

/// A stream of numbers that depends on nothing but its seed.
#[derive(Clone, Debug)]
pub struct Prng(u64);

impl Prng {
    /// The stream of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `most`, which is not 0.
    pub const fn below(&mut self, most: u64) -> u64 {
        self.next() % most
    }

    /// An index below `most`.
    pub fn index(&mut self, most: usize) -> usize {
        usize::try_from(self.below(most as u64)).expect("below an index")
    }

    /// True in `per_mille` of 1000 cases.
    pub const fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// One of the values.
    pub fn pick<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.index(values.len())]
    }
}
