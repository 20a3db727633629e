//! tensor - TensorProto to a checked tensor: one source of elements, of the right kind and length.

use crate::decode::Decoder;
use crate::model::{OnnxType, Tensor, TensorData};
use crate::scan::PAYLOAD_FIELD;
use nnc_ir::diag::Diagnostic;
use onnx_protobuf as pb;
use protobuf::UnknownValueRef;
use std::ops::Range;
use std::sync::Arc;

/// `TensorProto.DataLocation.EXTERNAL`.
const EXTERNAL: i32 = 1;

/// Problem of one tensor; boxed since it is rare and large.
pub(crate) type Refusal = Box<Diagnostic>;

/// A refusal with `code` and `message`.
pub(crate) fn refuse<T>(code: u16, message: String) -> Result<T, Refusal> {
    Err(Box::new(Diagnostic::error(code, message)))
}

impl Decoder<'_> {
    /// Checks and converts a tensor. `None` if there was an error, which has been reported.
    pub(crate) fn tensor(&mut self, t: pb::TensorProto) -> Option<Tensor> {
        let name = t.name.clone();
        let result = self.try_tensor(t);
        self.settle(&name, result)
    }

    /// Reports the refusal of the tensor `name`, if it is one.
    pub(crate) fn settle(&mut self, name: &str, result: Result<Tensor, Refusal>) -> Option<Tensor> {
        match result {
            Ok(tensor) => Some(tensor),
            Err(diagnostic) => {
                self.report(if name.is_empty() { *diagnostic } else { diagnostic.tensor(name) });
                None
            }
        }
    }

    pub(crate) fn try_tensor(&mut self, mut t: pb::TensorProto) -> Result<Tensor, Refusal> {
        let name = std::mem::take(&mut t.name);
        let Some(dtype) = OnnxType::from_number(i64::from(t.data_type)) else {
            return refuse(17, format!("unknown data_type {} in tensor '{name}'", t.data_type));
        };
        if t.segment.is_some() {
            return refuse(406, format!("tensor '{name}' is a segment of a larger one"));
        }
        let dims = std::mem::take(&mut t.dims);
        let n = n_elements(&name, &dims)?;
        let n_bytes = match dtype.bytes_of(n) {
            Some(bytes) => bytes,
            None if dtype == OnnxType::String => 0,
            None => {
                return refuse(223, format!("tensor '{name}': size of {} {dtype} overflows", list(&dims)));
            }
        };
        let location = t.data_location.value();
        if location != EXTERNAL && location != 0 {
            return refuse(17, format!("unknown data_location {location} in tensor '{name}'"));
        }
        let raw = self.payload(&t);
        let what = Needed { name: &name, dtype, dims: &dims, n, n_bytes };
        let data = if location == EXTERNAL {
            self.external_data(&t, raw, &what)?
        } else {
            self.own_data(t, raw, &what)?
        };
        Ok(Tensor { name, dtype, dims, data })
    }

    /// Byte range of `raw_data`; that of the last one if it is given several times.
    fn payload(&self, t: &pb::TensorProto) -> Option<Range<usize>> {
        let fields = t.special_fields.unknown_fields();
        let mut index = None;
        for (field, value) in fields.iter() {
            if let (PAYLOAD_FIELD, UnknownValueRef::Varint(i)) = (field, value) {
                index = Some(i);
            }
        }
        self.payloads.get(usize::try_from(index?).ok()?).cloned()
    }

    fn external_data(
        &mut self,
        t: &pb::TensorProto,
        raw: Option<Range<usize>>,
        what: &Needed<'_>,
    ) -> Result<TensorData, Refusal> {
        let Needed { name, dtype, .. } = *what;
        if raw.is_some_and(|r| !r.is_empty()) || typed_field(t).is_some() {
            return refuse(308, format!("tensor '{name}' is EXTERNAL and has data of its own as well"));
        }
        if dtype == OnnxType::String {
            return refuse(242, format!("tensor '{name}': strings cannot be external data"));
        }
        let entries: Vec<(&str, &str)> =
            t.external_data.iter().map(|e| (e.key.as_str(), e.value.as_str())).collect();
        let found = self.external.read(name, &entries, what.n_bytes as u64);
        for warning in self.external.take_warnings() {
            self.report(warning.tensor(name));
        }
        let (buffer, range) = found?;
        what.check_bytes(range.len())?;
        Ok(what.stored(TensorData::Range { buffer, offset: range.start, len: range.len() }))
    }

    fn own_data(
        &self,
        t: pb::TensorProto,
        raw: Option<Range<usize>>,
        what: &Needed<'_>,
    ) -> Result<TensorData, Refusal> {
        let Needed { name, dtype, n, .. } = *what;
        let raw = raw.filter(|r| !r.is_empty());
        let typed = typed_field(&t);
        match (raw, typed) {
            (Some(_), Some((field, _))) => {
                refuse(241, format!("tensor '{name}' has both raw_data and {field}"))
            }
            (Some(_), None) if dtype == OnnxType::String => {
                refuse(242, format!("tensor '{name}': raw_data cannot hold strings"))
            }
            (Some(raw), None) => {
                what.check_bytes(raw.len())?;
                let own = self.large.get(&raw.start).filter(|own| own.len() == raw.len());
                let (buffer, offset) = own.map_or((&self.buffer, raw.start), |own| (own, 0));
                Ok(what.stored(TensorData::Range { buffer: buffer.clone(), offset, len: raw.len() }))
            }
            (None, Some((field, several))) => {
                if let Some(other) = several {
                    return refuse(241, format!("tensor '{name}' has both {field} and {other}"));
                }
                let wanted = field_of(dtype);
                if field != wanted {
                    return refuse(242, format!("tensor '{name}': {dtype} is in {wanted}, not in {field}"));
                }
                what.typed(t)
            }
            (None, None) if n == 0 => Ok(match dtype {
                OnnxType::String => TensorData::Strings(Arc::default()),
                _ => TensorData::Inline(Arc::default()),
            }),
            (None, None) => refuse(
                241,
                format!("tensor '{name}': dims {} need {n} elements, has no data", list(what.dims)),
            ),
        }
    }
}

/// Number of elements of a tensor with these dims, whose strides must not overflow either.
pub(crate) fn n_elements(name: &str, dims: &[i64]) -> Result<usize, Refusal> {
    let mut stride = 1usize;
    let mut empty = false;
    for (axis, &d) in dims.iter().enumerate() {
        let Ok(extent) = usize::try_from(d) else {
            return refuse(237, format!("tensor '{name}': dim {axis} is {d}, need >= 0"));
        };
        empty |= extent == 0;
        stride = match stride.checked_mul(extent.max(1)) {
            Some(stride) if i64::try_from(stride).is_ok() => stride,
            _ => return refuse(223, format!("tensor '{name}': product of dims {} overflows", list(dims))),
        };
    }
    Ok(if empty { 0 } else { stride })
}

/// Name of a field with elements, and of a second one if there is one.
fn typed_field(t: &pb::TensorProto) -> Option<(&'static str, Option<&'static str>)> {
    let fields = [
        ("float_data", t.float_data.is_empty()),
        ("int32_data", t.int32_data.is_empty()),
        ("string_data", t.string_data.is_empty()),
        ("int64_data", t.int64_data.is_empty()),
        ("double_data", t.double_data.is_empty()),
        ("uint64_data", t.uint64_data.is_empty()),
    ];
    let mut present = fields.iter().filter(|(_, empty)| !empty).map(|(name, _)| *name);
    Some((present.next()?, present.next()))
}

/// The typed field that elements of a type are stored in.
fn field_of(dtype: OnnxType) -> &'static str {
    match dtype {
        OnnxType::Float | OnnxType::Complex64 => "float_data",
        OnnxType::Double | OnnxType::Complex128 => "double_data",
        OnnxType::Int64 => "int64_data",
        OnnxType::Uint32 | OnnxType::Uint64 => "uint64_data",
        OnnxType::String => "string_data",
        _ => "int32_data",
    }
}

/// What a tensor's header asks for.
struct Needed<'a> {
    name: &'a str,
    dtype: OnnxType,
    dims: &'a [i64],
    n: usize,
    n_bytes: usize,
}

impl Needed<'_> {
    fn check_bytes(&self, has: usize) -> Result<(), Refusal> {
        let Self { name, dtype, dims, n_bytes, .. } = self;
        if has == *n_bytes {
            return Ok(());
        }
        let (need, has) = (thousands(*n_bytes), thousands(has));
        refuse(240, format!("tensor '{name}': dims {} {dtype} need {need} bytes, has {has}", list(dims)))
    }

    /// Raw booleans may be any byte; here they are 0 or 1.
    fn stored(&self, data: TensorData) -> TensorData {
        match data {
            TensorData::Range { buffer, offset, len }
                if self.dtype == OnnxType::Bool && buffer[offset..offset + len].iter().any(|&b| b > 1) =>
            {
                let bytes = buffer[offset..offset + len].iter().map(|&b| u8::from(b != 0));
                TensorData::Inline(Arc::new(bytes.collect()))
            }
            data => data,
        }
    }

    /// Elements of the typed field that belongs to the type.
    fn typed(&self, t: pb::TensorProto) -> Result<TensorData, Refusal> {
        let dtype = self.dtype;
        let parts = if matches!(dtype, OnnxType::Complex64 | OnnxType::Complex128) { 2 } else { 1 };
        let n = match dtype.bits() {
            // Elements below a byte are packed: an entry holds a byte of them.
            Some(bits) if bits < 8 => self.n_bytes,
            _ => self.n.saturating_mul(parts),
        };
        let bytes = match field_of(dtype) {
            "float_data" => {
                self.check_entries(t.float_data.len(), n)?;
                t.float_data.iter().flat_map(|v| v.to_le_bytes()).collect()
            }
            "double_data" => {
                self.check_entries(t.double_data.len(), n)?;
                t.double_data.iter().flat_map(|v| v.to_le_bytes()).collect()
            }
            "int64_data" => {
                self.check_entries(t.int64_data.len(), n)?;
                t.int64_data.iter().flat_map(|v| v.to_le_bytes()).collect()
            }
            "uint64_data" => {
                self.check_entries(t.uint64_data.len(), n)?;
                self.narrow_u64(&t.uint64_data)?
            }
            "string_data" => {
                self.check_entries(t.string_data.len(), n)?;
                return Ok(TensorData::Strings(Arc::new(t.string_data)));
            }
            _ => {
                self.check_entries(t.int32_data.len(), n)?;
                self.narrow_i32(&t.int32_data)?
            }
        };
        Ok(TensorData::Inline(Arc::new(bytes)))
    }

    fn check_entries(&self, has: usize, need: usize) -> Result<(), Refusal> {
        let Self { name, dtype, dims, .. } = self;
        if has == need {
            return Ok(());
        }
        let (need, has) = (thousands(need), thousands(has));
        refuse(240, format!("tensor '{name}': dims {} {dtype} need {need} entries, has {has}", list(dims)))
    }

    fn narrow_u64(&self, values: &[u64]) -> Result<Vec<u8>, Refusal> {
        if self.dtype == OnnxType::Uint64 {
            return Ok(values.iter().flat_map(|v| v.to_le_bytes()).collect());
        }
        let mut bytes = Vec::with_capacity(self.n_bytes);
        for (i, &value) in values.iter().enumerate() {
            let Ok(value) = u32::try_from(value) else { return self.out_of_range(i, i128::from(value)) };
            bytes.extend(value.to_le_bytes());
        }
        Ok(bytes)
    }

    fn narrow_i32(&self, values: &[i32]) -> Result<Vec<u8>, Refusal> {
        let (range, width) = match self.dtype {
            OnnxType::Int32 => (i32::MIN..=i32::MAX, 4),
            OnnxType::Int16 => (i32::from(i16::MIN)..=i32::from(i16::MAX), 2),
            OnnxType::Uint16 | OnnxType::Float16 | OnnxType::Bfloat16 => (0..=0xffff, 2),
            OnnxType::Int8 => (-0x80..=0x7f, 1),
            OnnxType::Bool => (0..=1, 1),
            // A byte of packed elements may be written with a sign.
            OnnxType::Int4 | OnnxType::Int2 => (-0x80..=0xff, 1),
            _ => (0..=0xff, 1),
        };
        let mut bytes = Vec::with_capacity(self.n_bytes);
        for (i, &value) in values.iter().enumerate() {
            if !range.contains(&value) {
                return self.out_of_range(i, i128::from(value));
            }
            bytes.extend(&value.to_le_bytes()[..width]);
        }
        Ok(bytes)
    }

    fn out_of_range<T>(&self, index: usize, value: i128) -> Result<T, Refusal> {
        let Self { name, dtype, .. } = self;
        refuse(243, format!("tensor '{name}': element {index} is {value}, out of range for {dtype}"))
    }
}

/// `[64,3,7,7]`
pub(crate) fn list(dims: &[i64]) -> String {
    let dims: Vec<String> = dims.iter().map(i64::to_string).collect();
    format!("[{}]", dims.join(","))
}

/// `37,632`
fn thousands(n: usize) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(632), "632");
        assert_eq!(thousands(37_632), "37,632");
        assert_eq!(thousands(1_000_000), "1,000,000");
    }

    #[test]
    fn element_counts_do_not_overflow() {
        assert_eq!(n_elements("w", &[64, 3, 7, 7]).unwrap(), 9408);
        assert_eq!(n_elements("w", &[]).unwrap(), 1);
        assert_eq!(n_elements("w", &[0, 5]).unwrap(), 0);
        assert_eq!(n_elements("w", &[1 << 32, 1 << 32]).unwrap_err().code.0, 223);
        assert_eq!(n_elements("w", &[0, 1 << 62, 4]).unwrap_err().code.0, 223);
        assert_eq!(n_elements("w", &[-5]).unwrap_err().code.0, 237);
    }
}
