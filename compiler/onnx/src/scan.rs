//! scan - walks a model's wire format before anything is decoded: damage, limits, and where the weights are.
//!
//! The walk keeps its own stack, so that nesting costs heap and is limited. It writes a *slim* copy of the model that
//! holds only known fields, with the payload of every tensor replaced by [`PAYLOAD_FIELD`]: an index into the list
//! of byte ranges. What is slim decodes without surprises and without copying a weight.

use crate::limits::Limits;
use crate::problems::Problems;
use crate::schema::{Field, Kind, Msg};
use crate::wire::{self, Cursor, WireError, WireErrorKind, WireType};
use nnc_ir::diag::Diagnostic;
use std::ops::Range;

/// Field of a slim TensorProto that stands for `raw_data`: index of its byte range.
pub(crate) const PAYLOAD_FIELD: u32 = 1000;

/// No message has more known fields.
pub(crate) const MAX_FIELDS: usize = 20;

/// Bytes of a decoded string without its text.
const STRING_BYTES: usize = size_of::<String>() + 16;

/// Result of a scan without damage.
#[derive(Debug)]
pub(crate) struct Scanned {
    /// Known fields only, payloads replaced.
    pub(crate) slim: Vec<u8>,
    /// Byte ranges of tensor payloads in the file.
    pub(crate) payloads: Vec<Range<usize>>,
}

/// Scans `bytes` as a message `root`. `None` if the bytes are damaged beyond decoding; then `problems` says where.
pub(crate) fn scan(root: Msg, bytes: &[u8], limits: &Limits, problems: &mut Problems) -> Option<Scanned> {
    let mut scan = Scan {
        cursor: Cursor::new(bytes, 0, bytes.len()),
        stack: vec![Frame::new(root, bytes.len())],
        limits,
        problems,
        slim: Vec::new(),
        payloads: Vec::new(),
        graph_depth: usize::from(root == Msg::Graph),
        type_depth: usize::from(root == Msg::Type),
        n_nodes: 0,
        n_functions: 0,
        decoded_bytes: root.decoded_bytes(),
        sound: true,
        unknown: None,
    };
    if let Err(damage) = scan.run() {
        scan.problems.push(*damage);
        return None;
    }
    scan.sound.then_some(Scanned { slim: scan.slim, payloads: scan.payloads })
}

/// A message being walked.
pub(crate) struct Frame {
    pub(crate) msg: Msg,
    /// Where it ends in the file.
    pub(crate) end: usize,
    /// Its field in the message around it, and which of the repeated ones it is.
    pub(crate) field: Option<(&'static Field, u32)>,
    /// Fields seen so far, by row of the message.
    counts: [u32; MAX_FIELDS],
    /// Values of `dims` seen so far.
    pub(crate) n_dims: usize,
    /// Where its length goes in the slim copy.
    length_at: usize,
}

impl Frame {
    fn new(msg: Msg, end: usize) -> Self {
        Self { msg, end, field: None, counts: [0; MAX_FIELDS], n_dims: 0, length_at: 0 }
    }
}

pub(crate) struct Scan<'a> {
    pub(crate) cursor: Cursor<'a>,
    pub(crate) stack: Vec<Frame>,
    pub(crate) limits: &'a Limits,
    problems: &'a mut Problems,
    pub(crate) slim: Vec<u8>,
    payloads: Vec<Range<usize>>,
    graph_depth: usize,
    type_depth: usize,
    n_nodes: usize,
    n_functions: usize,
    decoded_bytes: usize,
    /// No error so far.
    sound: bool,
    /// First of the unknown fields at top level that no known one has followed: they may turn out to be no fields.
    unknown: Option<(usize, u32)>,
}

/// Damage after which the bytes cannot be followed; boxed since it is rare and large.
pub(crate) type Damage = Box<Diagnostic>;

impl Scan<'_> {
    fn run(&mut self) -> Result<(), Damage> {
        while let Some(top) = self.stack.last() {
            if self.cursor.pos < top.end {
                self.cursor.end = top.end;
                let at = self.cursor.pos;
                if let Err(damage) = self.field() {
                    return Err(self.after_the_model(at).unwrap_or(damage));
                }
            } else {
                self.close();
            }
        }
        self.accept_unknown();
        Ok(())
    }

    /// One field of the message on top of the stack.
    fn field(&mut self) -> Result<(), Damage> {
        let at = self.cursor.pos;
        let (number, wire_type) = self.cursor.tag().map_err(|e| self.damage(e, None))?;
        let top = self.stack.last_mut().expect("a field is inside a message");
        let msg = top.msg;
        let Some(row) = msg.fields().iter().position(|f| f.number == number) else {
            return self.unknown_field(at, number, wire_type);
        };
        let field = &msg.fields()[row];
        let index = top.counts[row];
        top.counts[row] = index.saturating_add(1);
        let accepted = field.kind.wire_types();
        if !accepted.contains(&wire_type) {
            if let Some(trailing) = self.after_the_model(at) {
                return Err(trailing);
            }
            self.cursor.payload(wire_type).map_err(|e| self.damage(e, Some(field)))?;
            self.error(Diagnostic::error(
                10,
                format!(
                    "{}.{} has wire type {}, expected {}",
                    msg.name(),
                    field.name,
                    wire_type.number(),
                    accepted[0].number()
                ),
            ));
            return Ok(());
        }
        let payload = self.cursor.payload(wire_type).map_err(|e| self.damage(e, Some(field)))?;
        self.accept_unknown();
        if matches!(field.kind, Kind::Name | Kind::Text | Kind::Bytes) {
            self.decoded_bytes += STRING_BYTES;
        }
        match field.kind {
            Kind::Message(inner) => return self.open(inner, field, index, payload),
            Kind::Unused => {}
            Kind::Payload => {
                wire::put_tag(&mut self.slim, PAYLOAD_FIELD, WireType::Varint);
                wire::put_varint(&mut self.slim, self.payloads.len() as u64);
                self.payloads.push(payload);
            }
            Kind::Name | Kind::Text => self.text(field, index, payload),
            Kind::Int | Kind::Int32 | Kind::Ints | Kind::Ints32 => self.ints(field, wire_type, payload)?,
            Kind::Bytes | Kind::Float => self.copy(field, wire_type, payload),
            Kind::Floats => self.fixed(field, wire_type, payload, 4)?,
            Kind::Doubles => self.fixed(field, wire_type, payload, 8)?,
        }
        self.check_decoded_bytes()
    }

    /// Descends into a message.
    fn open(
        &mut self,
        msg: Msg,
        field: &'static Field,
        index: u32,
        payload: Range<usize>,
    ) -> Result<(), Damage> {
        if msg == Msg::Graph && self.stack.len() == 1 && index > 0 {
            return Err(Box::new(
                Diagnostic::error(101, "graph given twice")
                    .note("protobuf would merge both into one graph")
                    .at_byte(payload.start as u64),
            ));
        }
        self.count(msg, payload.start)?;
        wire::put_tag(&mut self.slim, field.number, WireType::Bytes);
        let length_at = wire::put_late_length(&mut self.slim);
        self.cursor.pos = payload.start;
        self.stack.push(Frame { field: Some((field, index)), length_at, ..Frame::new(msg, payload.end) });
        self.check_decoded_bytes()
    }

    /// Counts a message towards the limits.
    fn count(&mut self, msg: Msg, at: usize) -> Result<(), Damage> {
        self.decoded_bytes += msg.decoded_bytes();
        let over = match msg {
            Msg::Graph => {
                self.graph_depth += 1;
                (self.graph_depth > self.limits.graph_nesting).then(|| {
                    format!("subgraph nesting {} over limit {}", self.graph_depth, self.limits.graph_nesting)
                })
            }
            Msg::Type => {
                self.type_depth += 1;
                (self.type_depth > self.limits.type_nesting).then(|| {
                    format!("type nesting {} over limit {}", self.type_depth, self.limits.type_nesting)
                })
            }
            Msg::Node => {
                self.n_nodes += 1;
                (self.n_nodes > self.limits.nodes)
                    .then(|| format!("the model has more than {} nodes", self.limits.nodes))
            }
            Msg::Function => {
                self.n_functions += 1;
                (self.n_functions > self.limits.functions)
                    .then(|| format!("the model has more than {} functions", self.limits.functions))
            }
            _ => None,
        };
        let code = match msg {
            Msg::Node => 503,
            Msg::Function => 507,
            _ => 504,
        };
        match over {
            Some(message) => Err(Box::new(Diagnostic::error(code, message).at_byte(at as u64))),
            None => Ok(()),
        }
    }

    /// Leaves the message on top of the stack.
    fn close(&mut self) {
        let Some(frame) = self.stack.pop() else { return };
        match frame.msg {
            Msg::Graph => self.graph_depth -= 1,
            Msg::Type => self.type_depth -= 1,
            _ => {}
        }
        if let Some((field, index)) = frame.field {
            wire::fill_late_length(&mut self.slim, frame.length_at);
            self.check_attributes(&frame, field, index);
            let rank = if frame.msg == Msg::Shape { frame.counts[0] as usize } else { 0 };
            if rank > self.limits.rank {
                let path = self.path(Some((field, index)));
                let limit = self.limits.rank;
                self.error(Diagnostic::error(502, format!("{path} has rank {rank}, limit {limit}")));
            }
        }
    }

    /// Looking up an attribute takes time in their number.
    fn check_attributes(&mut self, frame: &Frame, field: &'static Field, index: u32) {
        if !matches!(frame.msg, Msg::Node | Msg::Function) {
            return;
        }
        let rows = frame.msg.fields().iter().zip(frame.counts);
        let n: u32 = rows.filter(|(f, _)| f.name.starts_with("attribute")).map(|(_, n)| n).sum();
        let limit = self.limits.attributes;
        if n as usize > limit {
            let path = self.path(Some((field, index)));
            self.error(Diagnostic::error(507, format!("{path} has {n} attributes, limit {limit}")));
        }
    }

    /// A field that onnx.proto does not know (newer writers add some): skipped.
    fn unknown_field(&mut self, at: usize, number: u32, wire_type: WireType) -> Result<(), Damage> {
        if at == 0 {
            return Err(not_onnx(number, wire_type, None));
        }
        self.cursor.payload(wire_type).map_err(|e| self.damage(e, None))?;
        if self.stack.len() == 1 {
            self.unknown.get_or_insert((at, number));
        }
        Ok(())
    }

    /// Warns of unknown fields that were fields.
    fn accept_unknown(&mut self) {
        if let Some((at, number)) = self.unknown.take() {
            let root = self.stack.first().map_or("the model", |f| f.msg.name());
            let message = format!("unknown field {number} of {root} is ignored");
            self.problems.push(Diagnostic::warning(16, message).at_byte(at as u64));
        }
    }

    /// The error for damage at top level once the model is complete: then the rest is no part of it.
    fn after_the_model(&self, at: usize) -> Option<Damage> {
        let [model] = self.stack.as_slice() else { return None };
        let seen = |name| {
            let row = Msg::Model.fields().iter().position(|f| f.name == name);
            row.is_some_and(|row| model.counts[row] > 0)
        };
        if model.msg != Msg::Model || !(seen("graph") && seen("ir_version") && seen("opset_import")) {
            return None;
        }
        // A known field of the right type that is cut short is a truncated model.
        let mut rest = Cursor::new(self.cursor.bytes, at, model.end);
        if let Ok((number, wire_type)) = rest.tag() {
            let field = Msg::Model.fields().iter().find(|f| f.number == number);
            if field.is_some_and(|f| f.kind.wire_types().contains(&wire_type)) {
                return None;
            }
        }
        let at = self.unknown.map_or(at, |(first, _)| first);
        let n = model.end - at;
        Some(Box::new(
            Diagnostic::error(16, format!("{n} bytes after the model at {at}"))
                .at_byte(at as u64)
                .help("the file is two files in one, or damaged; fetch it again"),
        ))
    }

    pub(crate) fn damage(&self, e: WireError, field: Option<&'static Field>) -> Damage {
        let len = self.cursor.bytes.len();
        let at = e.at;
        let owner = self.stack.last().map_or("", |f| f.msg.name());
        let place = match field {
            Some(field) => format!("{}.{}", self.path(None), field.name),
            None => self.path(None),
        };
        let diagnostic = match e.kind {
            WireErrorKind::TruncatedVarint => {
                Diagnostic::error(7, format!("truncated at byte {at} of {len}: varint in {place}"))
            }
            WireErrorKind::TruncatedPayload { needs, has } => {
                let name = field.map_or("?", |f| f.name);
                Diagnostic::error(
                    7,
                    format!("field {owner}.{name} at byte {at} says {needs} bytes, {has} remain"),
                )
                .note(format!("in {place}; the file has {len} bytes"))
                .help("the file is cut short or damaged; fetch it again")
            }
            WireErrorKind::MalformedVarint => {
                Diagnostic::error(8, format!("malformed varint at byte {at}")).note(format!("in {place}"))
            }
            WireErrorKind::IllegalWireType(t) => {
                Diagnostic::error(9, format!("illegal wire type {t} at byte {at}"))
                    .note(format!("in {place}"))
            }
            WireErrorKind::IllegalFieldNumber(n) => {
                Diagnostic::error(9, format!("illegal field number {n} at byte {at}"))
                    .note(format!("in {place}"))
            }
        };
        Box::new(diagnostic.at_byte(at as u64))
    }

    pub(crate) fn error(&mut self, diagnostic: Diagnostic) {
        self.sound = false;
        self.problems.push(diagnostic);
    }

    fn check_decoded_bytes(&self) -> Result<(), Damage> {
        let limit = self
            .limits
            .decoded_bytes
            .saturating_add(self.cursor.bytes.len().saturating_mul(Limits::DECODED_PER_BYTE));
        if self.decoded_bytes <= limit {
            return Ok(());
        }
        let n = self.cursor.bytes.len();
        Err(Box::new(
            Diagnostic::error(501, format!("{n} bytes of model would decode into more than {limit} bytes"))
                .at_byte(self.cursor.pos as u64),
        ))
    }

    /// Path of the message on top of the stack, such as `ModelProto.graph.node[3].attribute[0]`, and of a field in it.
    pub(crate) fn path(&self, field: Option<(&'static Field, u32)>) -> String {
        let root = self.stack.first().map_or("ModelProto", |f| f.msg.name());
        let mut path = root.to_owned();
        for (field, index) in self.stack.iter().filter_map(|f| f.field).chain(field) {
            path.push('.');
            path.push_str(field.name);
            if field.repeated {
                path.push_str(&format!("[{index}]"));
            }
        }
        path
    }
}

/// The error for bytes that do not begin like a model.
pub(crate) fn not_onnx(number: u32, wire_type: WireType, looks_like: Option<&str>) -> Damage {
    let mut message =
        format!("not an ONNX protobuf: byte 0 is field {number} of wire type {}", wire_type.number());
    if let Some(kind) = looks_like {
        message.push_str(&format!("; looks like {kind}"));
    }
    Box::new(Diagnostic::error(4, message).at_byte(0))
}
