//! choice - what lowering decides by estimates, and may be told instead.
//!
//! Lowering of a contraction asks [`Choices`] at each decision: with the value of the cost model and, lazily, the values
//! that would do as well. It gets the cost model's, unless a [`Tuning`] has another for a kernel of this description. No
//! choice changes what is computed; those of minimal filtering, of its weights, and of tiles for few columns, change how sums are rounded.

use std::{collections::BTreeMap, fmt, str::FromStr};

use nnc_ir::form::LoopForm;
use nnc_tile::winograd::Winograd;

use crate::kernel::NestRequest;

/// A decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Knob {
    /// Results along an axis of a square of minimal filtering; 0 for the sum by taps.
    Winograd,
    /// Input channels whose weights the kernel transforms at a time; 0 where they are held transformed.
    Filters,
    /// Output channels of an item.
    Channels,
    /// Squares of an item of minimal filtering.
    Squares,
    /// Whether panels of columns go on in the next row of windows, which copies them: 1, or 0.
    Across,
    /// Rows and columns of a tile.
    Tile,
    /// Whether an operand of a product that is not constant is copied to panels: 1, or 0.
    Copy,
    /// Rows of an item: of a product, or of the result of a convolution.
    Rows,
    /// Panels of columns of an item.
    Panels,
}

/// Every decision by name.
const KNOBS: [(Knob, &str); 9] = [
    (Knob::Winograd, "winograd"),
    (Knob::Filters, "filters"),
    (Knob::Channels, "channels"),
    (Knob::Squares, "squares"),
    (Knob::Across, "across"),
    (Knob::Tile, "tile"),
    (Knob::Copy, "copy"),
    (Knob::Rows, "rows"),
    (Knob::Panels, "panels"),
];

/// What is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Choice {
    /// A number.
    Number(i64),
    /// A tile of so many rows and columns.
    Tile(u16, u16),
}

/// Decisions of one kernel that are not the cost model's.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Given(pub BTreeMap<Knob, Choice>);

/// Decisions by description of a kernel.
pub type Tuning = BTreeMap<String, Given>;

/// A decision that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Which.
    pub knob: Knob,
    /// What it came to.
    pub taken: Choice,
    /// What would do as well.
    pub others: Vec<Choice>,
}

/// The decisions of a kernel of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// Position of the kernel among the program's.
    pub kernel: usize,
    /// Its description: the key of a [`Tuning`].
    pub key: String,
    /// In the order in which they were made: an earlier one may decide which come after it.
    pub decisions: Vec<Decision>,
}

/// Decisions as they are made while a kernel is lowered.
#[derive(Clone, Debug, Default)]
pub struct Choices {
    given: Given,
    record: bool,
    made: Vec<Decision>,
    refused: Option<(Knob, Choice)>,
    part: Option<i64>,
}

impl Choices {
    /// For a kernel of which these decisions are given. With `record` it is noted what else would do.
    #[must_use]
    pub fn new(given: Option<&Given>, record: bool) -> Self {
        Choices { given: given.cloned().unwrap_or_default(), record, ..Self::default() }
    }

    /// For a kernel that is run in parts of so many elements of its result: nothing else is to be chosen.
    #[must_use]
    pub fn in_parts(elements: i64) -> Self {
        Choices { part: Some(elements), ..Self::default() }
    }

    /// Elements of the result that an item should compute at most, if the kernel is run in parts.
    #[must_use]
    pub fn part(&self) -> Option<i64> {
        self.part
    }

    /// The value for a decision: `default`, unless another is given that is one of `others`.
    pub(crate) fn take(
        &mut self,
        knob: Knob,
        default: Choice,
        others: impl FnOnce() -> Vec<Choice>,
    ) -> Choice {
        let given = self.given.0.get(&knob).copied();
        if given.is_none() && !self.record {
            return default;
        }
        let mut all = others();
        if !all.contains(&default) {
            all.insert(0, default);
        }
        let taken = match given {
            Some(choice) if all.contains(&choice) => choice,
            Some(choice) => {
                self.refused = self.refused.or(Some((knob, choice)));
                default
            }
            None => default,
        };
        all.retain(|&choice| choice != taken);
        self.made.push(Decision { knob, taken, others: all });
        taken
    }

    /// Likewise for a number.
    pub(crate) fn number(&mut self, knob: Knob, default: i64, others: impl FnOnce() -> Vec<i64>) -> i64 {
        let others = || others().into_iter().map(Choice::Number).collect();
        match self.take(knob, Choice::Number(default), others) {
            Choice::Number(n) => n,
            Choice::Tile(..) => default,
        }
    }

    /// Likewise for a number of parts of something, at least 1 and at most `most`: half and twice as many would do.
    pub(crate) fn amount(&mut self, knob: Knob, default: i64, step: i64, most: i64) -> i64 {
        self.number(knob, default, || {
            let up = |x: i64| ((x + step - 1) / step * step).clamp(1, most.max(1));
            let mut all = vec![up(default / 4), up(default / 2), up(default * 2), up(default * 4)];
            all.dedup();
            all.retain(|&x| x != default);
            all
        })
    }

    /// The decisions that were made.
    #[must_use]
    pub fn made(self) -> Vec<Decision> {
        self.made
    }

    /// A decision that was given, but that the kernel does not have or cannot make so.
    #[must_use]
    pub fn refused(&self) -> Option<(Knob, Choice)> {
        let unasked = || self.given.0.iter().find(|(knob, _)| self.made.iter().all(|d| d.knob != **knob));
        self.refused.or_else(|| unasked().map(|(&knob, &choice)| (knob, choice)))
    }
}

/// The description of a kernel: in short for readers, and a digest of all that lowering looks at but values: the nest, where
/// its results lie, which operands are constant, and whether there may be minimal filtering.
#[must_use]
pub fn key(request: &NestRequest, winograd: Option<Winograd>) -> String {
    let LoopForm { space, reduce, loads, results, finish, .. } = &request.form;
    let shape = |extents: &[nnc_ir::extent::Extent]| {
        let texts: Vec<String> = extents.iter().map(ToString::to_string).collect();
        texts.join("x")
    };
    let constant = |operand: usize| request.operands.get(operand).is_some_and(|o| o.constant.is_some());
    let operands: Vec<String> = loads
        .iter()
        .map(|l| {
            let constant = if constant(l.operand) { " constant" } else { "" };
            format!("{:?} {}{constant}", l.dtype, shape(&l.extents)).to_lowercase()
        })
        .collect();
    let results: Vec<String> = results.iter().map(|r| format!("{r:?}").to_lowercase()).collect();
    let constants: Vec<bool> = (0..request.operands.len()).map(constant).collect();
    let all = format!("{:?} {constants:?} {:?} {winograd:?}", request.form, request.placement);
    let digest = blake3::hash(all.as_bytes()).to_hex();
    format!(
        "{} {} over {} of {}, then {} #{}",
        results.join(" "),
        shape(space),
        shape(reduce),
        operands.join(", "),
        finish.insts().len(),
        &digest[..16]
    )
}

impl fmt::Display for Knob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = KNOBS.iter().find(|(knob, _)| knob == self).map_or("", |(_, name)| name);
        f.write_str(name)
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Choice::Number(n) => write!(f, "{n}"),
            Choice::Tile(rows, columns) => write!(f, "{rows}x{columns}"),
        }
    }
}

impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (knob, choice)) in self.0.iter().enumerate() {
            let space = if i > 0 { " " } else { "" };
            write!(f, "{space}{knob}={choice}")?;
        }
        Ok(())
    }
}

impl FromStr for Given {
    type Err = String;

    /// Reads what [`Given`] prints.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut given = Given::default();
        for part in text.split(' ') {
            let (name, value) = part.split_once('=').ok_or_else(|| format!("'{part}' is not NAME=VALUE"))?;
            let knob = KNOBS.iter().find(|(_, known)| *known == name).map(|(knob, _)| *knob);
            let knob = knob.ok_or_else(|| format!("nothing is decided by the name '{name}'"))?;
            let number = |text: &str| text.parse::<u32>().ok();
            let choice = match value.split_once('x') {
                Some((rows, columns)) => {
                    let size = |text: &str| u16::try_from(number(text)?).ok().filter(|&n| n > 0);
                    size(rows).zip(size(columns)).map(|(r, c)| Choice::Tile(r, c))
                }
                None => number(value).map(|n| Choice::Number(n.into())),
            };
            let is_tile = matches!(choice, Some(Choice::Tile(..)));
            let choice = choice.filter(|_| is_tile == (knob == Knob::Tile));
            let choice = choice.ok_or_else(|| format!("'{value}' is no value of '{name}'"))?;
            if given.0.insert(knob, choice).is_some() {
                return Err(format!("'{name}' is given twice"));
            }
        }
        Ok(given)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_are_printed_and_read_back() {
        let text = "winograd=4 squares=49 tile=14x32 rows=3";
        let given: Given = text.parse().unwrap();
        assert_eq!(given.to_string(), text);
        // In the order of the knobs, whatever the order in the text.
        let turned: Given = "rows=3 tile=14x32 squares=49 winograd=4".parse().unwrap();
        assert_eq!(turned, given);
        for bad in ["", "rows", "rows=", "rows=-1", "rows=1x2", "tile=3", "tile=0x4", "rows=1 rows=2", "x=1"]
        {
            assert!(bad.parse::<Given>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_decision_is_the_given_one_where_it_is_possible() {
        let given: Given = "rows=8 panels=3".parse().unwrap();
        let mut choices = Choices::new(Some(&given), false);
        assert_eq!(choices.amount(Knob::Rows, 4, 1, 100), 8);
        // Neither asked for yet, nor possible then.
        assert_eq!(choices.refused(), Some((Knob::Panels, Choice::Number(3))));
        assert_eq!(choices.amount(Knob::Panels, 4, 1, 100), 4);
        assert_eq!(choices.refused(), Some((Knob::Panels, Choice::Number(3))));
        let mut plain = Choices::new(None, false);
        assert_eq!(plain.number(Knob::Copy, 1, || unreachable!("nobody asks what else would do")), 1);
        assert!(plain.made().is_empty());
    }

    #[test]
    fn amounts_are_multiples_within_their_limit() {
        let mut choices = Choices::new(None, true);
        assert_eq!(choices.amount(Knob::Rows, 28, 14, 60), 28);
        let others: Vec<String> = choices.made()[0].others.iter().map(ToString::to_string).collect();
        assert_eq!(others, ["14", "56", "60"]);
    }
}
