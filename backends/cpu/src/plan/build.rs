//! build - regions to steps, in the order in which they run.

use std::rc::Rc;

use nnc_ir::{
    definitions::Definitions,
    diag::Diagnostic,
    entity::EntityId,
    extent::SymbolId,
    form::Form,
    graph::{Module, Node, NodeId, RegionId},
    ops::Op,
};
use nnc_runtime::externs::Extern;
use nnc_x86::Level;
use rustc_hash::FxHashMap;

use super::{
    Block, Bounds, Buffer, BufferId, BufferKind, ExternStep, Plan, Step, concat::Joined, intermediate_bytes,
    layout::Machine, ranges::Ranges, tiled::Tiling,
};
use crate::{elem_type::elem_type, kernel::Filtering, options::CompileOptions, weights::Constants};

/// Code of what this backend cannot compile.
const UNSUPPORTED: u16 = 410;

/// Makes the plan of a module, for a target whose tiles are of a level.
///
/// # Errors
/// One E0410 for every node that this backend has no code for.
pub(crate) fn build(
    module: &Module,
    level: Option<Level>,
    options: &CompileOptions,
) -> Result<Plan, Vec<Diagnostic>> {
    let mut planner = Planner {
        module,
        definitions: Rc::new(Definitions::new(module)),
        buffers: Vec::new(),
        of_value: vec![None; module.value_count()],
        constants: Constants::default(),
        node_names: Vec::new(),
        node_ids: FxHashMap::default(),
        clock: 0,
        kernels: 0,
        counters: 0,
        problems: Vec::new(),
        pairs: Vec::new(),
        uses: module.use_counts(),
        since: 0,
        joined: Vec::new(),
        ranges: Ranges::new(module),
        tilings: Vec::new(),
    };
    for (i, &param) in module.region(module.body()).params.iter().enumerate() {
        let buffer = planner.new_buffer(BufferKind::Input(i), module.ty(param).bytes());
        planner.of_value[param.index()] = Some(buffer);
    }
    let mut main = planner.region(module.body());
    let outputs = planner.outputs(&mut main);
    if !planner.problems.is_empty() {
        return Err(planner.problems);
    }
    planner.join_lives();
    let Planner { buffers, constants, node_names, kernels, counters, tilings, .. } = planner;
    let intermediate_bytes = intermediate_bytes(&buffers);
    let filtering = Filtering { most: options.winograd, weights: constants.bytes() };
    let mut plan = Plan {
        buffers,
        main,
        outputs,
        constants,
        node_names,
        kernels,
        counters,
        intermediate_bytes,
        filtering,
        apart: Vec::new(),
    };
    plan.shrink_nests();
    if !options.keep_layouts {
        plan.lay_out(Machine { level, filtering });
    }
    plan.join_groups(level);
    let finish = |plan: &mut Plan| {
        if !options.keep_operands {
            plan.reuse_operands(&module.symbols);
        }
    };
    plan.tile(&tilings, level, &finish);
    finish(&mut plan);
    Ok(plan)
}

/// A plan under construction. What makes its parts is in [`super::buffers`], [`super::nests`] and the files beside them.
pub(super) struct Planner<'m> {
    pub(super) module: &'m Module,
    pub(super) definitions: Rc<Definitions>,
    pub(super) buffers: Vec<Buffer>,
    pub(super) of_value: Vec<Option<BufferId>>,
    constants: Constants,
    node_names: Vec<String>,
    node_ids: FxHashMap<String, u32>,
    /// Number of the step; lives are counted in it.
    pub(super) clock: usize,
    kernels: usize,
    counters: usize,
    pub(super) problems: Vec<Diagnostic>,
    /// Buffers that change places while running, so that each lives as long as both.
    pub(super) pairs: Vec<(BufferId, BufferId)>,
    /// How often each value is read.
    pub(super) uses: Vec<usize>,
    /// Number of buffers when the steps of this region began: older ones belong to regions around it.
    pub(super) since: usize,
    /// The joined tensors of this region.
    pub(super) joined: Vec<Joined>,
    /// How large integers are.
    pub(super) ranges: Ranges,
    /// Regions that may be run tile by tile.
    pub(super) tilings: Vec<Tiling>,
}

impl Planner<'_> {
    /// The number of the next kernel.
    pub(super) fn next_kernel(&mut self) -> usize {
        self.kernels += 1;
        self.kernels - 1
    }

    /// The number of the next counter.
    pub(super) fn next_counter(&mut self) -> usize {
        self.counters += 1;
        self.counters - 1
    }

    /// Numbers of the ONNX nodes of a node.
    pub(super) fn node_numbers(&mut self, node: &Node) -> Vec<u32> {
        let mut number = |name: &str| {
            *self.node_ids.entry(name.to_owned()).or_insert_with(|| {
                self.node_names.push(name.to_owned());
                u32::try_from(self.node_names.len() - 1).expect("the importer limits nodes")
            })
        };
        if node.loc.is_empty() {
            return vec![number(node.op.mnemonic())];
        }
        node.loc.iter().map(|name| number(name)).collect()
    }

    pub(super) fn node_number(&mut self, node: &Node) -> i64 {
        self.node_numbers(node).first().map_or(-1, |&n| i64::from(n))
    }

    pub(super) fn unsupported(&mut self, node: &Node, what: &str) {
        let names: Vec<&str> = node.loc.iter().map(|n| &**n).collect();
        let message = format!("{} (nodes {}): {what}", node.op.mnemonic(), names.join(", "));
        self.problems.push(Diagnostic::error(UNSUPPORTED, message));
    }

    /// The steps of a region whose parameters have buffers.
    pub(super) fn region(&mut self, region: RegionId) -> Block {
        let mut block = Block::default();
        let module = self.module;
        let since = std::mem::replace(&mut self.since, self.buffers.len());
        let joined = std::mem::take(&mut self.joined);
        for &node in &module.region(region).nodes {
            self.clock += 1;
            self.node(node, &mut block);
        }
        self.since = since;
        self.joined = joined;
        self.clock += 1;
        for &result in &module.region(region).results {
            self.touch(self.buffer(result));
        }
        block
    }

    fn node(&mut self, id: NodeId, block: &mut Block) {
        let module = self.module;
        let node = module.node(id);
        for &operand in &node.operands {
            self.touch(self.buffer(operand));
        }
        self.ranges.see(module, id);
        match module.form(id) {
            Form::Loops(form) => self.nest_step(node, node.op.mnemonic().to_owned(), form, block),
            Form::View => {
                let buffer = self.buffer(node.operands[0]);
                self.bind(node.results[0], buffer);
            }
            Form::Constant => self.constant(node),
            Form::Concat { axis } => self.concat(node, axis, block),
            Form::Scatter(form) => self.scatter(node, form, block),
            Form::Extents(values) => {
                let to = self.results(node, block)[0];
                block.steps.push(Step::StoreExtents { to, values });
            }
            Form::ReadExtents(symbols) => {
                let (from, number) = (self.buffer(node.operands[0]), self.node_number(node));
                block.steps.push(Step::ReadExtents { from, symbols, node: number });
            }
            Form::Extern(form) => {
                let Some(function) = Extern::from_name(form.name) else {
                    return self.refuse(node, &format!("the runtime has no function '{}'", form.name));
                };
                self.call(id, function, form.attrs, form.defines, block);
            }
            Form::Region => match &node.op {
                Op::Fusion(_) => self.fusion(node, block),
                Op::Tiled(op) => self.tiled(op, node, block),
                Op::If(_) => self.if_node(id, block),
                Op::Loop(op) => self.loop_node(id, op, block),
                Op::Scan(op) => self.scan_node(node, op, block),
                _ => self.refuse(node, "the cpu backend has no code for it"),
            },
            Form::Composite => {
                self.refuse(node, "it is not decomposed, and the cpu backend has no code for it")
            }
        }
    }

    /// Reports a node and gives its results buffers, so that more problems can be found.
    pub(super) fn refuse(&mut self, node: &Node, what: &str) {
        self.unsupported(node, what);
        self.results(node, &mut Block::default());
    }

    fn constant(&mut self, node: &Node) {
        let Op::ConstantOp(op) = &node.op else {
            return self.refuse(node, "it has the form of a constant, but no value");
        };
        let id = self.constants.add(&op.value);
        let buffer = self.new_buffer(BufferKind::Constant(id), op.value.ty().bytes());
        self.bind(node.results[0], buffer);
    }

    fn call(
        &mut self,
        id: NodeId,
        function: Extern,
        attrs: Vec<i64>,
        defines: Vec<(usize, usize, SymbolId)>,
        block: &mut Block,
    ) {
        let module = self.module;
        let node = module.node(id);
        let bounds = Bounds::new(&module.symbols);
        let mut results = Vec::new();
        for &value in &node.results {
            let ty = module.ty(value);
            // The call decides the extents, so the buffer has room for what they are at most.
            let Some(bytes) = bounds.before(&ty.bytes(), self.definitions.of_node(id)) else {
                return self.refuse(node, "the call decides the size of a result, and it has no bound");
            };
            let buffer = self.new_buffer(BufferKind::Own, bytes.clone());
            self.bind(value, buffer);
            self.touch(buffer);
            block.steps.push(Step::Ensure { buffer, bytes: bytes.clone() });
            results.push((buffer, elem_type(ty.dtype).code(), ty.rank(), bytes));
        }
        let operands = node.operands.iter().map(|&v| {
            let ty = module.ty(v);
            (self.buffer(v), elem_type(ty.dtype).code(), ty.shape.clone())
        });
        let operands = operands.collect();
        let node = self.node_number(node);
        block.steps.push(Step::Extern(Box::new(ExternStep {
            function,
            attrs,
            operands,
            results,
            defines,
            node,
        })));
    }

    /// The steps of a node's one region in its place.
    pub(super) fn inline(&mut self, node: &Node, block: &mut Block) {
        let module = self.module;
        let region = module.region(node.regions[0]);
        for (&param, &operand) in region.params.iter().zip(&node.operands) {
            let buffer = self.buffer(operand);
            self.bind(param, buffer);
        }
        let inner = self.region(node.regions[0]);
        block.steps.extend(inner.steps);
        for (&result, &value) in node.results.iter().zip(&region.results) {
            let buffer = self.buffer(value);
            self.bind(result, buffer);
        }
    }
}
