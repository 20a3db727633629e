//! chains - sums of several chains, so that the lanes of a few columns are steps of k as well.

/// The chains that the sum of each element of C consists of.
///
/// Chain j has the steps j, j + count, j + 2 count, ... of k. Sums of neighbouring chains are added, then sums of those, until
/// one is left. Element (p, n) of B is at `(p / count * panel + n) * count + p % count`, with zeros where p is not below k: these
/// are multiplied by a zero and not by what lies behind A.
///
/// A tile has as many blocks of rows, one below the other, as an argument says, at least one: what is said of the rows of A, C and
/// operands of the epilogue holds on.
///
/// In parts, the columns that fill vectors of `count` lanes have one chain, and the digits of the number of the others are parts of 8,
/// 4, 2 or 1 columns, each with as many chains as fill a vector: 27 columns are 16 + 8 + 2 + 1 with 1, 2, 8 and 16 chains. Element
/// (p, n) of B is where [`Chains::place`] says, and a tile has one block of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Chains {
    /// How many: 2, 4, 8 or 16; in parts the most.
    pub count: u16,
    /// Steps of k beyond a multiple of the count.
    pub rest: u16,
    /// Whether columns are in parts.
    pub in_parts: bool,
}

/// Columns whose sums have as many chains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The first.
    pub first: usize,
    /// How many.
    pub cols: usize,
    /// Chains of a sum.
    pub chains: usize,
}

impl Chains {
    /// So many chains for k steps; `None` for a single one.
    #[must_use]
    pub fn of(count: u16, k: usize) -> Option<Chains> {
        let rest = u16::try_from(k % usize::from(count.max(1))).ok()?;
        (count > 1).then_some(Chains { count, rest, in_parts: false })
    }

    /// The same with columns in parts.
    #[must_use]
    pub fn in_parts(self) -> Chains {
        Chains { in_parts: true, ..self }
    }

    /// The parts of the columns of a panel.
    #[must_use]
    pub fn parts(self, panel: usize) -> Vec<Part> {
        let count = usize::from(self.count);
        if !self.in_parts {
            return vec![Part { first: 0, cols: panel, chains: count }];
        }
        let whole = panel - panel % count;
        let digits = (0..count.ilog2()).rev().map(|bit| 1 << bit).filter(|cols| panel & cols != 0);
        let sizes = std::iter::once(whole).chain(digits).filter(|cols| *cols > 0);
        let mut first = 0;
        let part = |cols: usize| {
            let chains = if cols == whole { 1 } else { count / cols };
            first += cols;
            Part { first: first - cols, cols, chains }
        };
        sizes.map(part).collect()
    }

    /// Where the element of B for step p and column n is.
    ///
    /// # Panics
    /// If the panel has fewer columns.
    #[must_use]
    pub fn place(self, panel: usize, p: usize, n: usize) -> usize {
        let part = self.parts(panel).into_iter().find(|part| n < part.first + part.cols);
        let Part { first, cols, chains } = part.expect("the panel has the column");
        let count = usize::from(self.count);
        let (block, step) = (p / count, p % count);
        count * (block * panel + first) + (step / chains * cols + n - first) * chains + step % chains
    }

    /// Sums of chains as one, neighbours first.
    pub(super) fn added(mut sums: Vec<f32>) -> f32 {
        while sums.len() > 1 {
            sums =
                sums.chunks(2).map(|pair| pair.iter().copied().reduce(|x, y| x + y).unwrap_or(0.0)).collect();
        }
        sums.first().copied().unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_in_parts_have_places_of_their_own() {
        for count in [8u16, 16] {
            for panel in 1..60usize {
                let chains = Chains::of(count, 0).unwrap().in_parts();
                let turns = 2 * usize::from(count);
                let mut places: Vec<usize> =
                    (0..turns).flat_map(|p| (0..panel).map(move |n| chains.place(panel, p, n))).collect();
                places.sort_unstable();
                assert_eq!(places, (0..turns * panel).collect::<Vec<_>>(), "{panel} columns, {count} lanes");
            }
        }
    }

    #[test]
    fn parts_are_whole_vectors_and_digits() {
        let of = |panel| {
            let parts = Chains::of(16, 0).unwrap().in_parts().parts(panel);
            parts.iter().map(|part| (part.first, part.cols, part.chains)).collect::<Vec<_>>()
        };
        assert_eq!(of(27), [(0, 16, 1), (16, 8, 2), (24, 2, 8), (26, 1, 16)]);
        assert_eq!(of(13), [(0, 8, 2), (8, 4, 4), (12, 1, 16)]);
        assert_eq!(of(32), [(0, 32, 1)]);
    }
}
