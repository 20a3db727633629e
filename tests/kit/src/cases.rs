//! cases - reads conformance cases: a folder with `model.onnx` and `test_data_set_0/{input,output}_<i>.pb`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use nnc_ir::{dtype::DType, eval::Tensor};
use onnx_protobuf as pb;
use protobuf::{CodedInputStream, Message};

/// One case.
#[derive(Clone, Debug)]
pub struct Case {
    /// Name of its folder.
    pub name: String,
    /// The model file.
    pub model: PathBuf,
    /// Operators of the main graph, without doubles.
    pub ops: Vec<String>,
    /// Values of the graph's inputs; those without data are left out at the end.
    pub inputs: Vec<Item>,
    /// What the outputs should be.
    pub outputs: Vec<Item>,
}

/// A value of test data.
#[derive(Clone, Debug)]
pub enum Item {
    /// TensorProto
    Tensor(Tensor),
    /// SequenceProto
    Sequence(Vec<Tensor>),
    /// OptionalProto without a value
    Nothing,
}

impl Item {
    /// The tensor, if it is one.
    #[must_use]
    pub fn tensor(&self) -> Option<&Tensor> {
        if let Item::Tensor(t) = self { Some(t) } else { None }
    }
}

/// Folders of cases in `folder`, sorted.
///
/// # Errors
/// If the folder cannot be read.
pub fn folders(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut found: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    found.retain(|p| p.join("model.onnx").is_file());
    found.sort();
    Ok(found)
}

/// Reads a case.
///
/// # Errors
/// Says which file has what that no tensor here can hold (strings, complex numbers, small floats, maps).
pub fn read(folder: &Path) -> Result<Case, String> {
    let model = folder.join("model.onnx");
    let proto: pb::ModelProto = parse(&read_file(&model)?)?;
    let graph = proto.graph.unwrap_or_default();
    let mut ops: Vec<String> = graph.node.iter().map(|n| n.op_type.clone()).collect();
    ops.sort();
    ops.dedup();
    let data = folder.join("test_data_set_0");
    let items = |what: &str, infos: &[pb::ValueInfoProto]| -> Result<Vec<Item>, String> {
        let mut items = Vec::new();
        for (i, info) in infos.iter().enumerate() {
            let path = data.join(format!("{what}_{i}.pb"));
            if !path.is_file() {
                break;
            }
            items.push(item(&read_file(&path)?, info).map_err(|e| format!("{what}_{i}: {e}"))?);
        }
        Ok(items)
    };
    let name = folder.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    let (inputs, outputs) = (items("input", &graph.input)?, items("output", &graph.output)?);
    Ok(Case { name, model, ops, inputs, outputs })
}

fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|e| format!("{}: {e}", path.display()))
}

fn parse<M: Message>(bytes: &[u8]) -> Result<M, String> {
    M::parse_from_bytes(bytes).map_err(|e| e.to_string())
}

fn item(bytes: &[u8], info: &pb::ValueInfoProto) -> Result<Item, String> {
    use pb::type_proto::Value;
    let tensors =
        |parts: Vec<Vec<u8>>| parts.iter().map(|p| tensor(&parse(p)?)).collect::<Result<Vec<_>, _>>();
    match &info.type_.value {
        Some(Value::TensorType(_)) => Ok(Item::Tensor(tensor(&parse(bytes)?)?)),
        Some(Value::SequenceType(_)) => Ok(Item::Sequence(tensors(parts(bytes, TENSORS)?)?)),
        Some(Value::OptionalType(_)) => {
            if let Some(value) = tensors(parts(bytes, TENSORS)?)?.pop() {
                return Ok(Item::Tensor(value));
            }
            match parts(bytes, SEQUENCES)?.pop() {
                Some(sequence) => Ok(Item::Sequence(tensors(parts(&sequence, TENSORS)?)?)),
                None => Ok(Item::Nothing),
            }
        }
        _ => Err("neither a tensor nor a sequence nor an optional".to_owned()),
    }
}

/// Field of SequenceProto and OptionalProto for tensors, and for sequences.
const TENSORS: u32 = 3;
const SEQUENCES: u32 = 5;

/// The messages in field `wanted` of a message.
fn parts(bytes: &[u8], wanted: u32) -> Result<Vec<Vec<u8>>, String> {
    let mut stream = CodedInputStream::from_bytes(bytes);
    let mut found = Vec::new();
    let text = |e: protobuf::Error| e.to_string();
    while let Some(tag) = stream.read_raw_tag_or_eof().map_err(text)? {
        match (tag >> 3, tag & 7) {
            (field, 2) => {
                let part = stream.read_bytes().map_err(text)?;
                if field == wanted {
                    found.push(part);
                }
            }
            (_, 0) => drop(stream.read_raw_varint64().map_err(text)?),
            (_, kind) => return Err(format!("wire type {kind} in a sequence")),
        }
    }
    Ok(found)
}

/// The tensor of a TensorProto; integers of fewer than 8 bits become bytes.
fn tensor(proto: &pb::TensorProto) -> Result<Tensor, String> {
    let n: i64 = proto.dims.iter().product();
    let n = usize::try_from(n).map_err(|_| "negative extent".to_owned())?;
    let (dtype, bits) = match proto.data_type {
        1 => (DType::F32, 32),
        2 => (DType::U8, 8),
        3 => (DType::I8, 8),
        4 => (DType::U16, 16),
        5 => (DType::I16, 16),
        6 => (DType::I32, 32),
        7 => (DType::I64, 64),
        9 => (DType::Bool, 8),
        10 => (DType::F16, 16),
        11 => (DType::F64, 64),
        12 => (DType::U32, 32),
        13 => (DType::U64, 64),
        16 => (DType::BF16, 16),
        21 => (DType::U8, 4),
        22 => (DType::I8, 4),
        25 => (DType::U8, 2),
        26 => (DType::I8, 2),
        other => return Err(format!("element type {other}")),
    };
    let bytes = if !proto.raw_data.is_empty() {
        let raw = &proto.raw_data;
        if bits < 8 { unpack(raw, bits, n, dtype == DType::I8) } else { raw.clone() }
    } else {
        let width = dtype.bytes();
        let ints = || proto.int32_data.iter().flat_map(move |x| x.to_le_bytes()[..width].to_vec());
        match dtype {
            DType::F32 => proto.float_data.iter().flat_map(|x| x.to_le_bytes()).collect(),
            DType::F64 => proto.double_data.iter().flat_map(|x| x.to_le_bytes()).collect(),
            DType::I64 => proto.int64_data.iter().flat_map(|x| x.to_le_bytes()).collect(),
            DType::U32 | DType::U64 => {
                proto.uint64_data.iter().flat_map(|x| x.to_le_bytes()[..width].to_vec()).collect()
            }
            _ if bits < 8 => {
                let packed: Vec<u8> = proto.int32_data.iter().map(|x| x.to_le_bytes()[0]).collect();
                unpack(&packed, bits, n, dtype == DType::I8)
            }
            _ => ints().collect(),
        }
    };
    if bytes.len() != n * dtype.bytes() {
        return Err(format!("{} bytes for {n} elements of {dtype}", bytes.len()));
    }
    Ok(Tensor { dtype, dims: proto.dims.clone(), bytes })
}

/// Elements of 2 or 4 bits, the first in the lowest bits, as bytes.
fn unpack(packed: &[u8], bits: usize, n: usize, signed: bool) -> Vec<u8> {
    let element = |i: usize| {
        let top = (packed.get(i * bits / 8).copied().unwrap_or(0) >> (i * bits % 8)) << (8 - bits);
        if signed { (top.cast_signed() >> (8 - bits)).cast_unsigned() } else { top >> (8 - bits) }
    };
    (0..n).map(element).collect()
}
