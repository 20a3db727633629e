//! import - a checked model to a module, or every problem at once.
//!
//! Each ONNX operator is a row of [`table`] and a function that makes the nodes it means. Shapes are computed while
//! importing: the elements of small integer tensors are followed as extents (`known`), so that a Reshape whose target
//! comes from Shape, Gather and Concat gets its shape without anything being run.

mod attrs;
mod constant;
mod cx;
mod emit;
mod graph;
mod inputs;
mod known;
mod narrow;
mod ops;
mod region;
mod scope;
mod shape;
mod table;
mod training;
mod value;

use std::collections::{BTreeMap, HashMap};

use nnc_ir::{
    constant::Constant,
    diag::Diagnostic,
    extent::{Extent, SymbolId},
    graph::{Module, ValueId, loc},
};

use crate::{model::Model, problems::Problems};
use scope::Scope;
use value::Binding;

/// An error of one node; boxed, as it is large.
pub(crate) type Problem = Box<Diagnostic>;
/// What the import of one node gives: its results.
pub(crate) type Outcome = Result<Vec<Binding>, Problem>;

/// What the user says about a model.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// Extents of named dimensions (`--dim N=1`).
    pub dims: BTreeMap<String, i64>,
    /// Shapes of inputs (`--shape x=1,3,224,224`).
    pub shapes: BTreeMap<String, Vec<i64>>,
    /// Values of inputs that are the same in every run: they become constants, and no inputs of the module.
    pub constants: BTreeMap<String, Constant>,
    /// Most problems that are listed.
    pub max_problems: usize,
}

impl ImportOptions {
    /// Everything as the model says.
    #[must_use]
    pub fn as_declared() -> Self {
        Self { dims: BTreeMap::new(), shapes: BTreeMap::new(), constants: BTreeMap::new(), max_problems: 200 }
    }
}

/// State of an import.
pub(crate) struct Importer {
    pub(crate) module: Module,
    pub(crate) problems: Problems,
    /// Extents of named dimensions.
    dims: BTreeMap<String, Extent>,
    options: ImportOptions,
    /// Extents that a `read_extents` of this value defines.
    pub(crate) extents_read: HashMap<ValueId, Vec<Extent>>,
    /// Names of integers of fewer than 8 bits.
    pub(crate) narrow: HashMap<String, crate::model::OnnxType>,
    /// Symbols that constraints leave one value.
    pub(crate) fixed: HashMap<SymbolId, i64>,
    /// How many branches are around what is imported that the run may not take.
    pub(crate) conditional: usize,
    /// What a condition compares, where that is two extents.
    pub(crate) equalities: HashMap<ValueId, (Extent, Extent)>,
    /// Operators that nnc does not have, with the first such node and how many there are.
    missing: BTreeMap<(u16, String), (Diagnostic, usize)>,
}

/// Imports `model`. The result comes with warnings.
///
/// # Errors
/// Every problem found, warnings included; at least one is an error.
pub fn import(model: &Model, options: &ImportOptions) -> Result<(Module, Vec<Diagnostic>), Vec<Diagnostic>> {
    let mut importer = Importer {
        module: Module::new(),
        problems: Problems::new(options.max_problems),
        dims: options.dims.iter().map(|(name, &n)| (name.clone(), Extent::Const(n))).collect(),
        options: options.clone(),
        extents_read: HashMap::new(),
        narrow: narrow::declared(&model.graph),
        fixed: HashMap::new(),
        conditional: 0,
        equalities: HashMap::new(),
        missing: BTreeMap::new(),
    };
    for warning in &model.warnings {
        importer.problems.push(warning.clone());
    }
    importer.main(model);
    let missing = std::mem::take(&mut importer.missing);
    for (diagnostic, count) in missing.into_values() {
        let several = format!("{count} nodes need it; this is the first");
        importer.problems.push(if count > 1 { diagnostic.note(several) } else { diagnostic });
    }
    let Importer { module, problems, .. } = importer;
    problems.into_result().map(|warnings| (module, warnings))
}

impl Importer {
    fn main(&mut self, model: &Model) {
        let graph = &model.graph;
        let scope = Scope::new(self.module.body());
        self.inputs(graph, &scope);
        self.graph(graph, &scope, "main");
        let mut outputs = Vec::new();
        for info in &graph.outputs {
            match self.result(info, &scope, "main") {
                Ok(Binding::Tensor(value)) => outputs.push((info.name.clone(), value.id)),
                Ok(Binding::Poison) => {}
                Ok(Binding::Sequence(_) | Binding::Nothing) => {
                    let message = format!("graph output '{}' is no tensor", info.name);
                    self.problems.push(Diagnostic::error(405, message).in_graph("main"));
                }
                Err(problem) => self.problems.push(*problem),
            }
        }
        self.module.set_outputs(&outputs);
    }

    /// The value of a graph's output.
    fn result(
        &mut self,
        info: &crate::model::ValueInfo,
        scope: &Scope<'_>,
        path: &str,
    ) -> Result<Binding, Problem> {
        match scope.lookup(&mut self.module, &info.name, &loc(&info.name)) {
            Some(binding) => Ok(binding),
            None => {
                let message = format!("graph output '{}' is never produced", info.name);
                Err(Box::new(Diagnostic::error(102, message).in_graph(path)))
            }
        }
    }
}
