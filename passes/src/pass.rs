//! pass - what a pass is: a named graph-to-graph function with its phase and exactness.

use std::{fmt, time::Duration};

use nnc_ir::{
    Module,
    constant::Constant,
    form::LoopForm,
    graph::{Phase, Provenance},
    ops::Op,
};

use crate::{cost::Cost, target::TargetDesc};

/// What a pass may do to results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Exactness {
    /// The same bits.
    Exact,
    /// Reassociates: results differ by rounding.
    Rounding,
    /// Loses accuracy within a stated bound; never runs unless asked for by name.
    Approximate,
}

impl fmt::Display for Exactness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Exactness::Exact => "exact",
            Exactness::Rounding => "rounding",
            Exactness::Approximate => "approximate",
        })
    }
}

/// A law that a pass applies: rewriting the left side to the right one. Every rule has a generator of left sides in the
/// tests, which hold both sides to each other.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// Kebab case; unique among all passes.
    pub name: &'static str,
    /// The law, `left = right`, with its conditions.
    pub law: &'static str,
    /// Where it comes from: a paper, a section of a specification, or why it holds.
    pub source: &'static str,
    /// What it may do to results; never more than its pass.
    pub exactness: Exactness,
}

/// One application of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// Name of the rule.
    pub rule: &'static str,
    /// ONNX nodes it was applied to.
    pub loc: Provenance,
    /// Why, if a cost decided; else empty.
    pub detail: String,
}

/// A bug of the compiler: a pass broke an invariant. Never the model's fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bug {
    /// Which pass.
    pub pass: String,
    /// What it broke.
    pub message: String,
}

impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this is a bug in nnc: pass `{}`: {}", self.pass, self.message)
    }
}

impl std::error::Error for Bug {}

/// Why a pass left a node alone, for `nnc explain`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Miss {
    /// ONNX nodes it is about.
    pub loc: Provenance,
    /// Operation in the middle of it.
    pub op: &'static str,
    /// The reason, lower case.
    pub reason: String,
}

/// Computes operations on constants; the driver decides how (evaluator, or compiled code for large ones: the same bits).
pub trait ConstEval {
    /// Results of `op` on constants, or `None` if it cannot (or should not, for size) be computed.
    fn fold(&self, op: &Op, operands: &[Constant]) -> Option<Vec<Constant>>;
}

/// What the backend does by tiles, several times as fast as by plain loops; the driver asks the backend.
pub trait Tiles {
    /// Why tiles cannot do a nest, or `None` if they can; `constant` gives operands, by their number, that are known.
    fn refusal(&self, form: &LoopForm, constant: &dyn Fn(usize) -> Option<Constant>) -> Option<&'static str>;
}

/// A backend of which nothing is known.
struct AnyNest;

impl Tiles for AnyNest {
    fn refusal(&self, _: &LoopForm, _: &dyn Fn(usize) -> Option<Constant>) -> Option<&'static str> {
        None
    }
}

/// What a pass is given besides the module.
pub struct PassCx<'a> {
    /// Computes operations on constants.
    pub consts: &'a dyn ConstEval,
    /// Facts about the processor.
    pub target: &'a TargetDesc,
    /// Which contractions tiles do.
    pub tiles: &'a dyn Tiles,
    /// Why things were left alone.
    pub misses: Vec<Miss>,
    /// What was rewritten, in order.
    pub rewrites: Vec<Rewrite>,
    /// At most so many rewrites are still allowed: bisection stops a pass half way.
    pub fuel: usize,
    /// Bytes that intermediates may take, if there is a limit.
    pub max_memory: Option<i64>,
}

impl<'a> PassCx<'a> {
    /// A context without limits.
    #[must_use]
    pub fn new(consts: &'a dyn ConstEval, target: &'a TargetDesc) -> Self {
        Self {
            consts,
            target,
            tiles: &AnyNest,
            misses: Vec::new(),
            rewrites: Vec::new(),
            fuel: usize::MAX,
            max_memory: None,
        }
    }

    /// Records why a node was left alone.
    pub fn miss(&mut self, module: &Module, node: nnc_ir::graph::NodeId, reason: impl Into<String>) {
        let node = module.node(node);
        self.misses.push(Miss { loc: node.loc.clone(), op: node.op.mnemonic(), reason: reason.into() });
    }

    /// Whether another rewrite is allowed: to be asked before anything is made for it.
    #[must_use]
    pub fn has_fuel(&self) -> bool {
        self.fuel > 0
    }

    /// Records a rewrite, which the caller has checked there is fuel for.
    pub fn fired(&mut self, rule: &'static Rule, loc: &Provenance) {
        self.fired_for(rule, loc, String::new());
    }

    /// Likewise, with what a decision by cost was made for.
    pub fn fired_for(&mut self, rule: &'static Rule, loc: &Provenance, detail: String) {
        self.fuel = self.fuel.saturating_sub(1);
        self.rewrites.push(Rewrite { rule: rule.name, loc: loc.clone(), detail });
    }
}

/// Registry entry of a pass.
pub struct PassInfo {
    /// Verb-object in kebab case.
    pub name: &'static str,
    /// The doc comment of its row in the registry.
    pub help: &'static str,
    /// Phase the module must have reached.
    pub needs: Phase,
    /// What it may do to results.
    pub exactness: Exactness,
    /// What it applies.
    pub rules: &'static [&'static Rule],
    /// The pass. It records each rewrite by [`PassCx::fired`], and changes nothing else but the phase.
    pub run: fn(&mut Module, &mut PassCx<'_>) -> Result<(), Bug>,
}

/// What one run of a pass did.
#[derive(Clone, Debug)]
pub struct PassReport {
    /// Name of the pass.
    pub name: &'static str,
    /// Rewrites, in order.
    pub rewrites: Vec<Rewrite>,
    /// Nodes before and after, all regions.
    pub nodes: (usize, usize),
    /// What the module costs before and after, if asked for.
    pub cost: Option<(Cost, Cost)>,
    /// Time it took, without verification.
    pub time: Duration,
    /// Unified diff of the text, if asked for and changed.
    pub diff: Option<String>,
    /// Text after it, if asked for.
    pub text: Option<String>,
    /// Why things were left alone.
    pub misses: Vec<Miss>,
}
