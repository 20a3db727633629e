//! parse - text as modules.

use std::{collections::HashMap, fmt};

use crate::{
    constant::Constant,
    dtype::DType,
    extent::{Extent, Symbol, SymbolOrigin},
    graph::{Constraint, ConstraintKind, Module, Phase, Provenance, RegionId, ValueId},
    ops::{
        Op,
        attr::{Reader, split_top},
    },
    text::{cursor::Cursor, extent::parse_extent, print::phase_name},
    types::TensorType,
};

/// Deepest nesting of regions.
const MAX_DEPTH: usize = 64;

/// What is wrong with a text, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// Line number, from 1.
    pub line: usize,
    /// Lower case, no full stop.
    pub message: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl std::error::Error for ParseError {}

/// Finds a constant by the digest that stands for it in text.
pub type FindConstant<'c> = dyn Fn(&str) -> Option<Constant> + 'c;

/// Reads a module. Written types must be those that the operations infer; the verifier's other rules are not checked.
///
/// # Errors
/// The first line that cannot be read.
pub fn parse(text: &str, constants: &FindConstant<'_>) -> Result<Module, ParseError> {
    let mut parser =
        Parser { lines: Lines::new(text), module: Module::new(), values: HashMap::new(), constants };
    parser.module().map_err(|message| ParseError { line: parser.lines.number, message })?;
    Ok(parser.module)
}

/// Lines that are neither blank nor comments.
struct Lines<'t> {
    rest: std::iter::Enumerate<std::str::Lines<'t>>,
    /// Number of the line given last.
    number: usize,
}

impl<'t> Lines<'t> {
    fn new(text: &'t str) -> Self {
        Self { rest: text.lines().enumerate(), number: 1 }
    }
    fn next(&mut self) -> Result<Cursor<'t>, String> {
        for (index, line) in self.rest.by_ref() {
            self.number = index + 1;
            let line = line.trim();
            if !line.is_empty() && !line.starts_with("//") {
                return Ok(Cursor::new(line));
            }
        }
        Err("the text ends early".into())
    }
}

struct Parser<'t, 'c> {
    lines: Lines<'t>,
    module: Module,
    values: HashMap<&'t str, ValueId>,
    constants: &'c FindConstant<'c>,
}

impl<'t> Parser<'t, '_> {
    fn module(&mut self) -> Result<(), String> {
        let mut line = self.lines.next()?;
        line.expect("nnir 1")?;
        line.end()?;
        loop {
            let mut line = self.lines.next()?;
            if line.eat("phase ") {
                let all = [Phase::Imported, Phase::Canonical, Phase::Fused, Phase::Planned];
                let name = line.word();
                let phase = all.into_iter().find(|&p| phase_name(p) == name);
                self.module.phase = phase.ok_or_else(|| format!("no phase `{name}`"))?;
            } else if line.eat("symbol ") {
                self.symbol(&mut line)?;
            } else if line.eat("constraint ") {
                self.constraint(&mut line)?;
            } else if line.eat("module (") {
                self.main(&mut line)?;
                return match self.lines.next() {
                    Ok(_) => Err("nothing may follow the module".into()),
                    Err(_) => Ok(()),
                };
            } else {
                return Err(line.expected("phase, symbol, constraint or module"));
            }
            line.end()?;
        }
    }

    fn symbol(&mut self, line: &mut Cursor<'t>) -> Result<(), String> {
        let (number, next) = (line.token(), format!("s{}", self.module.symbols.len()));
        if number != next {
            return Err(format!("symbols are numbered in order: expected `{next}`"));
        }
        line.expect(" ")?;
        let name = line.quoted()?;
        line.expect(" ")?;
        let range = line.token();
        let range = range.split_once("..=").and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        let (min, max) = range.ok_or("expected a range such as `1..=8`")?;
        line.expect(" ")?;
        let origin = match line.token() {
            "data" => SymbolOrigin::Data,
            text => {
                let axis = text.strip_prefix("input(").and_then(|t| t.strip_suffix(')')?.split_once(','));
                let axis = axis.and_then(|(i, a)| Some((i.parse().ok()?, a.parse().ok()?)));
                let (input, axis) = axis.ok_or("expected `data` or an origin such as `input(0,1)`")?;
                SymbolOrigin::Input { input, axis }
            }
        };
        let bound = if line.eat(" bound ") { Some(extent(line.token())?) } else { None };
        self.module.symbols.push(Symbol { name, min, max, origin, bound });
        Ok(())
    }

    fn constraint(&mut self, line: &mut Cursor<'t>) -> Result<(), String> {
        let text = line.token();
        let parts = text.split_once('(').and_then(|(kind, rest)| Some((kind, rest.strip_suffix(')')?)));
        let (kind, sides) = parts.ok_or("expected a constraint such as `equal(s0,4)`")?;
        let [a, b] = split_top(sides)[..] else { return Err("a constraint has two sides".into()) };
        let (a, b) = (extent(a)?, extent(b)?);
        let kind = match kind {
            "equal" => ConstraintKind::Equal(a, b),
            "broadcasts" => ConstraintKind::Broadcasts(a, b),
            "at_most" => ConstraintKind::AtMost(a, b),
            _ => return Err(format!("no constraint `{kind}`")),
        };
        let loc = loc(line)?;
        self.module.constraints.push(Constraint { kind, loc });
        Ok(())
    }

    fn main(&mut self, line: &mut Cursor<'t>) -> Result<(), String> {
        let body = self.module.body();
        while !line.eat(") {") {
            let value = line.value()?;
            line.expect(" ")?;
            let name = line.quoted()?;
            let ty = ty_after_colon(line)?;
            let param = self.module.add_input(&name, ty);
            self.declare(value, param)?;
            line.separator(") {")?;
        }
        line.end()?;
        let mut line = self.nodes(body, "return", 0)?;
        let mut outputs = Vec::new();
        while line.eat(" ") {
            let value = self.value(line.value()?)?;
            line.expect(" ")?;
            outputs.push((line.quoted()?, value));
            if !line.eat(",") {
                break;
            }
        }
        line.end()?;
        self.module.set_outputs(&outputs);
        self.close()
    }

    fn region(&mut self, line: &mut Cursor<'t>, depth: usize) -> Result<RegionId, String> {
        if depth > MAX_DEPTH {
            return Err(format!("regions nest deeper than {MAX_DEPTH}"));
        }
        let region = self.module.add_region();
        while !line.eat(") {") {
            let value = line.value()?;
            let ty = ty_after_colon(line)?;
            let param = self.module.add_param(region, ty);
            self.declare(value, param)?;
            line.separator(") {")?;
        }
        line.end()?;
        let mut line = self.nodes(region, "yield", depth)?;
        let results = if line.eat(" ") { self.operands(&mut line)? } else { vec![] };
        line.end()?;
        self.module.set_results(region, results);
        self.close()?;
        Ok(region)
    }

    fn close(&mut self) -> Result<(), String> {
        let mut line = self.lines.next()?;
        line.expect("}")?;
        line.end()
    }

    /// Reads nodes up to the line that starts with `terminator`, and gives the rest of that.
    fn nodes(&mut self, region: RegionId, terminator: &str, depth: usize) -> Result<Cursor<'t>, String> {
        loop {
            let mut line = self.lines.next()?;
            if line.eat(terminator) {
                return Ok(line);
            }
            self.node(&mut line, region, depth)?;
        }
    }

    fn node(&mut self, line: &mut Cursor<'t>, region: RegionId, depth: usize) -> Result<(), String> {
        let at = self.lines.number;
        let mut results = Vec::new();
        if line.starts_with("%") {
            results = line.values()?;
            line.expect(" = ")?;
        }
        let mnemonic = line.word();
        let operands = if line.eat_before(" ", "%") { self.operands(line)? } else { vec![] };
        let mut attrs = Reader { attrs: vec![], constants: Some(self.constants) };
        let text = line.attributes()?;
        for attr in split_top(text) {
            let pair = attr.trim_start().split_once('=');
            attrs.attrs.push(pair.ok_or_else(|| format!("attribute `{attr}` has no value"))?);
        }
        let op = Op::parse(mnemonic, &mut attrs)?;
        if let Some((extra, _)) = attrs.attrs.first() {
            return Err(format!("`{mnemonic}` has no attribute `{extra}`"));
        }
        let mut types = Vec::new();
        if line.eat(" : ") {
            types.push(ty(line.token())?);
            while line.eat(", ") {
                types.push(ty(line.token())?);
            }
        }
        let loc = loc(line)?;
        let regions = if line.eat(" {") { self.regions(line, depth + 1)? } else { vec![] };
        line.end()?;
        // What inference says belongs to the line of the operation, not to the end of its regions.
        let end = std::mem::replace(&mut self.lines.number, at);
        let values = self.module.append(region, op, &operands, &regions, &loc)?;
        if values.len() != results.len() || types.len() != results.len() {
            let (given, typed) = (results.len(), types.len());
            return Err(format!(
                "`{mnemonic}` has {} results, written are {given} with {typed} types",
                values.len()
            ));
        }
        for ((name, value), written) in results.into_iter().zip(values).zip(types) {
            let inferred = self.module.ty(value);
            if *inferred != written {
                return Err(format!("{name} is written as {written}, but is {inferred}"));
            }
            self.declare(name, value)?;
        }
        self.lines.number = end;
        Ok(())
    }

    fn regions(&mut self, line: &Cursor<'t>, depth: usize) -> Result<Vec<RegionId>, String> {
        line.end()?;
        let mut regions = Vec::new();
        loop {
            let mut line = self.lines.next()?;
            if line.eat("region (") {
                regions.push(self.region(&mut line, depth)?);
            } else {
                line.expect("}")?;
                line.end()?;
                return Ok(regions);
            }
        }
    }

    fn declare(&mut self, name: &'t str, value: ValueId) -> Result<(), String> {
        match self.values.insert(name, value) {
            Some(_) => Err(format!("{name} is defined twice")),
            None => Ok(()),
        }
    }
    fn value(&self, name: &str) -> Result<ValueId, String> {
        self.values.get(name).copied().ok_or_else(|| format!("{name} is not defined"))
    }
    fn operands(&self, line: &mut Cursor<'t>) -> Result<Vec<ValueId>, String> {
        line.values()?.into_iter().map(|name| self.value(name)).collect()
    }
}

fn ty_after_colon(line: &mut Cursor<'_>) -> Result<TensorType, String> {
    line.expect(" : ")?;
    ty(line.token())
}

/// Reads what the `Display` of `TensorType` prints.
fn ty(text: &str) -> Result<TensorType, String> {
    let read = || {
        let (dtype, shape) = text.strip_suffix(']')?.split_once('[')?;
        let shape: Option<Vec<Extent>> = split_top(shape).into_iter().map(parse_extent).collect();
        Some(TensorType::new(DType::from_name(dtype)?, shape?))
    };
    read().ok_or_else(|| format!("cannot read type `{text}`"))
}

fn extent(text: &str) -> Result<Extent, String> {
    parse_extent(text).ok_or_else(|| format!("cannot read extent `{text}`"))
}

fn loc(line: &mut Cursor<'_>) -> Result<Provenance, String> {
    let mut names: Vec<std::sync::Arc<str>> = Vec::new();
    if line.eat(" loc(") {
        names.push(line.quoted()?.into());
        while line.eat(",") {
            names.push(line.quoted()?.into());
        }
        line.expect(")")?;
    }
    Ok(names.into())
}
