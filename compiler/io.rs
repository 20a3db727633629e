//! io - tensors from and to files: `.npy`, `.npz` and ONNX `.pb`.

use std::{
    fs::File,
    io::{BufReader, BufWriter, Cursor, Read, Write},
    path::Path,
};

use nnc_onnx::model::OnnxType;
use nnc_runtime::{ElemType, Tensor};
use npyz::{NpyFile, WriterBuilder};

use crate::Failure;

/// Reads one tensor: `.pb` is a TensorProto, anything else NumPy's format.
///
/// # Errors
/// E0601 if the file cannot be read, E0603 if it holds no tensor of a type nnc knows.
pub fn read_tensor(path: &Path) -> Result<Tensor, Failure> {
    if path.extension().is_some_and(|e| e == "pb") {
        let bytes = std::fs::read(path).map_err(|e| cannot_open(path, &e))?;
        return tensor_of_pb(bytes, path);
    }
    let file = File::open(path).map_err(|e| cannot_open(path, &e))?;
    read_npy(BufReader::new(file), path)
}

/// Reads every tensor of an `.npz` archive, by name.
///
/// # Errors
/// As [`read_tensor`].
pub fn read_npz(path: &Path) -> Result<Vec<(String, Tensor)>, Failure> {
    let file = File::open(path).map_err(|e| cannot_open(path, &e))?;
    let mut archive =
        npyz::npz::NpzArchive::new(BufReader::new(file)).map_err(|e| bad_file(path, &e.to_string()))?;
    let names: Vec<String> = archive.array_names().map(str::to_owned).collect();
    let mut out = Vec::with_capacity(names.len());
    for name in names {
        let file = npyz::npz::file_name_from_array_name(&name);
        let entry = archive.zip_archive().by_name(&file).map_err(|e| bad_file(path, &e.to_string()))?;
        let tensor = read_npy(entry, path)?;
        out.push((name, tensor));
    }
    Ok(out)
}

/// Writes a tensor as `.npy`.
///
/// # Errors
/// E0602 if the file cannot be written, E0603 for `bf16`, which NumPy does not know.
pub fn write_npy(path: &Path, tensor: &Tensor) -> Result<(), Failure> {
    let io = |e: std::io::Error| Failure::single(602, format!("cannot write '{}': {e}", path.display()));
    let file = BufWriter::new(File::create(path).map_err(io)?);
    let shape: Vec<u64> = tensor.dims().iter().map(|&d| u64::try_from(d).unwrap_or(0)).collect();
    macro_rules! write {
        ($ty:ty) => {{
            let options = npyz::WriteOptions::<$ty>::new().default_dtype().shape(&shape).writer(file);
            let mut writer = options.begin_nd().map_err(io)?;
            let size = std::mem::size_of::<$ty>();
            for chunk in tensor.bytes().chunks_exact(size) {
                writer
                    .push(&<$ty>::from_le_bytes(chunk.try_into().expect("chunks of that size")))
                    .map_err(io)?;
            }
            writer.finish().map_err(io)
        }};
    }
    match tensor.elem() {
        ElemType::Bool => {
            let options = npyz::WriteOptions::<bool>::new().default_dtype().shape(&shape).writer(file);
            let mut writer = options.begin_nd().map_err(io)?;
            writer.extend(tensor.bytes().iter().map(|&b| b != 0)).map_err(io)?;
            writer.finish().map_err(io)
        }
        ElemType::U8 => write!(u8),
        ElemType::I8 => write!(i8),
        ElemType::U16 => write!(u16),
        ElemType::I16 => write!(i16),
        ElemType::U32 => write!(u32),
        ElemType::I32 => write!(i32),
        ElemType::U64 => write!(u64),
        ElemType::I64 => write!(i64),
        ElemType::F32 => write!(f32),
        ElemType::F64 => write!(f64),
        ElemType::F16 => write_f16(file, tensor, &shape).map_err(io),
        ElemType::Bf16 => Err(bad_file(path, "NumPy has no bf16")),
    }
}

/// `f16` is written by hand: header and bytes.
fn write_f16(mut file: impl Write, tensor: &Tensor, shape: &[u64]) -> std::io::Result<()> {
    let dims: String = shape.iter().map(|d| format!("{d}, ")).collect();
    let mut header = format!("{{'descr': '<f2', 'fortran_order': False, 'shape': ({dims}), }}");
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    file.write_all(b"\x93NUMPY\x01\x00")?;
    file.write_all(&u16::try_from(header.len()).unwrap_or(u16::MAX).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    file.write_all(tensor.bytes())
}

/// Most bytes of a header of NumPy's format: a record of types may be long, that of one type is not.
const HEADER_BYTES: u32 = 1 << 16;

fn read_npy(mut reader: impl Read, path: &Path) -> Result<Tensor, Failure> {
    let head = npy_head(&mut reader).map_err(|e| bad_file(path, &e.to_string()))?;
    if !extents_fit(&head) {
        return Err(bad_file(path, "its extents are too large"));
    }
    let reader = Cursor::new(head).chain(reader);
    tensor_of_npy(NpyFile::new(reader).map_err(|e| bad_file(path, &e.to_string()))?, path)
}

/// The bytes before the elements, as far as they are NumPy's format.
fn npy_head(reader: &mut impl Read) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::new();
    reader.take(10).read_to_end(&mut head)?;
    let mut len = match head.get(8..10) {
        Some(two) => u32::from(u16::from_le_bytes([two[0], two[1]])),
        None => return Ok(head),
    };
    if head[6] > 1 {
        reader.take(2).read_to_end(&mut head)?;
        len += head.get(10..12).map_or(0, |two| u32::from(u16::from_le_bytes([two[0], two[1]])) << 16);
    }
    if head.starts_with(b"\x93NUMPY") && len > HEADER_BYTES {
        return Err(std::io::Error::other(format!("a header of {len} bytes")));
    }
    reader.take(len.into()).read_to_end(&mut head)?;
    Ok(head)
}

/// Whether the product of the extents is a number of bytes; the reader multiplies them unchecked. An extent of 0 counts
/// as 1, since strides are products of the others.
fn extents_fit(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head);
    let shape = text.split_once("shape").and_then(|(_, rest)| rest.split_once(['(', '[']));
    let numbers = shape.and_then(|(_, rest)| Some(rest.split_once([')', ']'])?.0)).unwrap_or_default();
    let extent = |text: &str| text.trim_matches(|c: char| !c.is_ascii_digit()).parse::<i64>();
    let mut extents = numbers.split(',').filter(|n| n.contains(|c: char| c.is_ascii_digit())).map(extent);
    // Elements of 16 bytes are the largest.
    extents.try_fold(16i64, |product, extent| product.checked_mul(extent.ok()?.max(1))).is_some()
}

fn tensor_of_npy(npy: NpyFile<impl Read>, path: &Path) -> Result<Tensor, Failure> {
    if npy.order() != npyz::Order::C && npy.shape().len() > 1 {
        return Err(bad_file(path, "Fortran order; save it with numpy.ascontiguousarray"));
    }
    let dims: Vec<i64> = npy.shape().iter().map(|&d| i64::try_from(d).unwrap_or(i64::MAX)).collect();
    let descr = npy.dtype().descr();
    macro_rules! read {
        ($ty:ty, $elem:ident) => {{
            let values = npy.into_vec::<$ty>().map_err(|e| bad_file(path, &e.to_string()))?;
            let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
            Ok(Tensor::from_bytes(ElemType::$elem, &dims, &bytes)?)
        }};
    }
    match descr.trim_matches(|c: char| !c.is_ascii_alphanumeric()) {
        "b1" => {
            let values = npy.into_vec::<bool>().map_err(|e| bad_file(path, &e.to_string()))?;
            let bytes: Vec<u8> = values.into_iter().map(u8::from).collect();
            Ok(Tensor::from_bytes(ElemType::Bool, &dims, &bytes)?)
        }
        "u1" => read!(u8, U8),
        "i1" => read!(i8, I8),
        "u2" => read!(u16, U16),
        "i2" => read!(i16, I16),
        "u4" => read!(u32, U32),
        "i4" => read!(i32, I32),
        "u8" => read!(u64, U64),
        "i8" => read!(i64, I64),
        "f2" => {
            let values = npy.into_vec::<half::f16>().map_err(|e| bad_file(path, &e.to_string()))?;
            let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
            Ok(Tensor::from_bytes(ElemType::F16, &dims, &bytes)?)
        }
        "f4" => read!(f32, F32),
        "f8" => read!(f64, F64),
        other => Err(bad_file(path, &format!("elements of type {other}"))),
    }
}

/// The tensor in the bytes of a TensorProto.
///
/// # Errors
/// What the decoder says, or E0603 for element types that cannot be run.
pub fn tensor_of_pb(bytes: Vec<u8>, path: &Path) -> Result<Tensor, Failure> {
    let tensor = nnc_onnx::pb::read_tensor_pb(bytes).map_err(|d| Failure::Model(vec![*d]))?;
    let elem = elem_of_onnx(tensor.dtype)
        .ok_or_else(|| bad_file(path, &format!("elements of type {}", tensor.dtype)))?;
    Ok(Tensor::from_bytes(elem, &tensor.dims, tensor.bytes())?)
}

/// The run-time element type of an ONNX one, if programs have it.
#[must_use]
pub fn elem_of_onnx(ty: OnnxType) -> Option<ElemType> {
    Some(match ty {
        OnnxType::Bool => ElemType::Bool,
        OnnxType::Uint8 => ElemType::U8,
        OnnxType::Int8 => ElemType::I8,
        OnnxType::Uint16 => ElemType::U16,
        OnnxType::Int16 => ElemType::I16,
        OnnxType::Uint32 => ElemType::U32,
        OnnxType::Int32 => ElemType::I32,
        OnnxType::Uint64 => ElemType::U64,
        OnnxType::Int64 => ElemType::I64,
        OnnxType::Float16 => ElemType::F16,
        OnnxType::Bfloat16 => ElemType::Bf16,
        OnnxType::Float => ElemType::F32,
        OnnxType::Double => ElemType::F64,
        _ => return None,
    })
}

fn cannot_open(path: &Path, error: &std::io::Error) -> Failure {
    Failure::single(601, format!("cannot read '{}': {error}", path.display()))
}

fn bad_file(path: &Path, why: &str) -> Failure {
    Failure::single(603, format!("'{}' holds no tensor that nnc can use: {why}", path.display()))
}
