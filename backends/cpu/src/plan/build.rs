//! build - regions to steps: buffers, their lives, and what runs when.

use std::rc::Rc;

use nnc_ir::{
    compose::fuse_region,
    definitions::Definitions,
    diag::Diagnostic,
    dtype::DType,
    entity::EntityId,
    extent::Extent,
    form::{Class, Form, LoopForm},
    graph::{Module, Node, NodeId, RegionId, ValueId},
    ops::Op,
    types::TensorType,
};
use nnc_runtime::{ElemType, externs::Extern};
use nnc_x86::Level;
use rustc_hash::FxHashMap;

use super::{
    Block, Bounds, Buffer, BufferId, BufferKind, ExternStep, NestStep, Plan, ScatterStep, Step,
    concat::Joined, data_free, intermediate_bytes, layout::Machine, ranges::Ranges, resolve, tiled::Tiling,
};
use crate::{CompileOptions, kernel::Filtering, lower::concat::copy_form, weights::Constants};

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
    since: usize,
    /// The joined tensors of this region.
    pub(super) joined: Vec<Joined>,
    /// How large integers are.
    ranges: Ranges,
    /// Regions that may be run tile by tile.
    pub(super) tilings: Vec<Tiling>,
}

impl Planner<'_> {
    pub(super) fn new_buffer(&mut self, kind: BufferKind, bytes: Extent) -> BufferId {
        self.buffers.push(Buffer::new(kind, bytes));
        BufferId(self.buffers.len() - 1)
    }

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

    /// A buffer of its own for a value of type `ty`.
    pub(super) fn own(&mut self, ty: &TensorType) -> BufferId {
        self.new_buffer(BufferKind::Own, ty.bytes())
    }

    pub(super) fn resolve(&self, buffer: BufferId) -> BufferId {
        resolve(&self.buffers, buffer)
    }

    /// The buffer of a value that has been defined.
    pub(super) fn buffer(&self, value: ValueId) -> BufferId {
        self.of_value[value.index()]
            .expect("the verifier has checked that values are defined before they are read")
    }

    pub(super) fn bind(&mut self, value: ValueId, buffer: BufferId) {
        self.of_value[value.index()] = Some(buffer);
    }

    /// Notes that a buffer is in use now.
    pub(super) fn touch(&mut self, buffer: BufferId) {
        let at = self.clock;
        let buffer = self.resolve(buffer);
        for buffer in [Some(buffer), self.buffers[buffer.0].partner].into_iter().flatten() {
            let live = &mut self.buffers[buffer.0].live;
            *live = Some(live.map_or((at, at), |(first, last)| (first.min(at), last.max(at))));
        }
    }

    /// Gives buffers that change places the same life, and what has parts theirs.
    fn join_lives(&mut self) {
        for i in 0..self.buffers.len() {
            let Some((first, last)) = self.buffers[i].live else { continue };
            let mut at = i;
            while let BufferKind::Part(whole) = self.buffers[at].kind {
                at = self.resolve(whole).0;
                let live = &mut self.buffers[at].live;
                *live = Some(live.map_or((first, last), |(a, b)| (a.min(first), b.max(last))));
            }
        }
        for &(a, b) in &self.pairs {
            let lives = [self.buffers[a.0].live, self.buffers[b.0].live];
            let join = |x: (usize, usize), y: (usize, usize)| (x.0.min(y.0), x.1.max(y.1));
            let both = lives.into_iter().flatten().reduce(join);
            self.buffers[a.0].live = both;
            self.buffers[b.0].live = both;
        }
    }

    /// Makes `from`, which was made for a value of a block, the same memory as `to`, if nothing stands against it.
    ///
    /// `since` is the number of buffers when the block began: older ones belong to others.
    pub(super) fn redirect(&mut self, from: BufferId, to: BufferId, since: usize) -> bool {
        let (from, to) = (self.resolve(from), self.resolve(to));
        let old = &self.buffers[from.0];
        if from == to || from.0 < since || old.kind != BufferKind::Own || old.pinned {
            return false;
        }
        // Addresses of parts are computed before all that data decide.
        let known = |e: &Extent| data_free(&self.module.symbols, e);
        let target = &self.buffers[to.0];
        let moves = target.pinned || target.kind != BufferKind::Own || !target.sizes.iter().all(known);
        if moves && self.has_parts(from) {
            return false;
        }
        let (sizes, live) = (old.sizes.clone(), old.live);
        self.buffers[from.0].kind = BufferKind::Same(to);
        let target = &mut self.buffers[to.0];
        target.sizes.extend(sizes);
        target.sizes.dedup();
        if let Some((first, last)) = live {
            target.live = Some(target.live.map_or((first, last), |(a, b)| (a.min(first), b.max(last))));
        }
        true
    }

    /// Whether there are buffers that are parts of this one.
    pub(super) fn has_parts(&self, buffer: BufferId) -> bool {
        self.buffers.iter().any(|b| matches!(b.kind, BufferKind::Part(of) if self.resolve(of) == buffer))
    }

    /// Whether the buffer was made by the steps of this region.
    pub(super) fn is_of_region(&self, buffer: BufferId) -> bool {
        buffer.0 >= self.since
    }

    /// Has the value of `from` in `to` at the end of a block: produced there, or copied.
    pub(super) fn deliver(
        &mut self,
        block: &mut Block,
        from: BufferId,
        to: BufferId,
        bytes: &Extent,
        since: usize,
    ) {
        self.touch(from);
        self.touch(to);
        if !self.redirect(from, to, since) {
            block.steps.push(Step::Ensure { buffer: to, bytes: bytes.clone() });
            block.steps.push(Step::Copy { from, to, bytes: bytes.clone() });
        }
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
            Form::Scatter(form) => {
                let ty = module.ty(node.results[0]).clone();
                let result = self.results(node, block)[0];
                let operands: Vec<BufferId> = node.operands.iter().map(|&v| self.buffer(v)).collect();
                let (what, nodes) = (node.op.mnemonic().to_owned(), self.node_numbers(node));
                block.steps.push(Step::Nest(Box::new(NestStep {
                    kernel: self.next_kernel(),
                    what: format!("{what}_copy"),
                    form: copy_form(&ty),
                    operands: vec![operands[0]],
                    ranges: vec![],
                    results: vec![result],
                    placement: vec![None],
                    nodes: nodes.clone(),
                    at: self.clock,
                    in_place: false,
                    channels_last: false,
                })));
                let kernel = self.next_kernel();
                let step = ScatterStep { kernel, what, form, ty, operands, result, nodes };
                block.steps.push(Step::Scatter(Box::new(step)));
            }
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

    /// A buffer for each result, with room for it.
    pub(super) fn results(&mut self, node: &Node, block: &mut Block) -> Vec<BufferId> {
        let module = self.module;
        let one = |&value: &ValueId| {
            let buffer = self.own(module.ty(value));
            self.bind(value, buffer);
            self.touch(buffer);
            block.steps.push(Step::Ensure { buffer, bytes: module.ty(value).bytes() });
            buffer
        };
        node.results.iter().map(one).collect()
    }

    /// What a fusion does: its nodes, but for those that only move, each kind once.
    pub(super) fn fusion_name(&self, node: &Node) -> String {
        let mut names: Vec<&str> = Vec::new();
        for &inner in &self.module.region(node.regions[0]).nodes {
            let name = self.module.node(inner).op.mnemonic();
            let moves = self.module.form(inner).loops().is_some_and(|l| l.class() == Class::Movement);
            if !moves && !names.contains(&name) {
                names.push(name);
            }
        }
        let more = if names.len() > 4 { "_etc" } else { "" };
        names.truncate(4);
        if names.is_empty() { "move".into() } else { names.join("_") + more }
    }

    fn nest_step(&mut self, node: &Node, what: String, form: LoopForm, block: &mut Block) {
        let operands = node.operands.iter().map(|&v| self.buffer(v)).collect();
        let ranges = node.operands.iter().map(|&v| self.ranges.of(v)).collect();
        let results = self.results(node, block);
        let placement = vec![None; results.len()];
        let nodes = self.node_numbers(node);
        let kernel = self.next_kernel();
        block.steps.push(Step::Nest(Box::new(NestStep {
            kernel,
            what,
            form,
            operands,
            ranges,
            results,
            placement,
            nodes,
            at: self.clock,
            in_place: false,
            channels_last: false,
        })));
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
        defines: Vec<(usize, usize, nnc_ir::extent::SymbolId)>,
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

    /// A fusion is one nest, or one over rows; what did not become one runs node by node.
    fn fusion(&mut self, node: &Node, block: &mut Block) {
        if let Ok(form) = fuse_region(self.module, node.regions[0]) {
            let what = self.fusion_name(node);
            return self.nest_step(node, what, form, block);
        }
        if let Some(form) = self.row_form(node.regions[0]) {
            return self.rows_step(node, form, block);
        }
        self.inline(node, block);
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

/// The runtime's name of an element type.
#[must_use]
pub fn elem_type(dtype: DType) -> ElemType {
    match dtype {
        DType::Bool => ElemType::Bool,
        DType::U8 => ElemType::U8,
        DType::I8 => ElemType::I8,
        DType::U16 => ElemType::U16,
        DType::I16 => ElemType::I16,
        DType::U32 => ElemType::U32,
        DType::I32 => ElemType::I32,
        DType::U64 => ElemType::U64,
        DType::I64 => ElemType::I64,
        DType::F16 => ElemType::F16,
        DType::BF16 => ElemType::Bf16,
        DType::F32 => ElemType::F32,
        DType::F64 => ElemType::F64,
    }
}
