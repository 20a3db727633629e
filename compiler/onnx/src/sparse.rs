//! sparse - SparseTensorProto to a dense tensor: zeros with the given elements at their places.

use crate::decode::Decoder;
use crate::model::{OnnxType, Tensor, TensorData};
use crate::tensor::{Refusal, list, n_elements, refuse};
use onnx_protobuf as pb;
use std::sync::Arc;

impl Decoder<'_> {
    /// Checks and expands a sparse tensor; its name is that of its values. `None` if there was an error, which has
    /// been reported.
    pub(crate) fn sparse(&mut self, s: pb::SparseTensorProto) -> Option<Tensor> {
        let name = s.values.as_ref().map_or_else(String::new, |v| v.name.clone());
        let result = self.try_sparse(s, &name);
        self.settle(&name, result)
    }

    fn try_sparse(&mut self, s: pb::SparseTensorProto, name: &str) -> Result<Tensor, Refusal> {
        let dims = s.dims;
        let (Some(values), Some(indices)) = (s.values.into_option(), s.indices.into_option()) else {
            return refuse(244, format!("sparse tensor '{name}' lacks values or indices"));
        };
        let values = self.try_tensor(values)?;
        let indices = self.try_tensor(indices)?;
        let n = n_elements(name, &dims)?;
        let width = match values.dtype.bits() {
            Some(bits) if bits >= 8 => bits / 8,
            _ => return refuse(405, format!("sparse tensor '{name}': dtype {} not supported", values.dtype)),
        };
        let n_bytes = n.saturating_mul(width);
        self.dense_bytes = self.dense_bytes.saturating_add(n_bytes);
        if self.dense_bytes > self.limits.dense_bytes {
            let limit = self.limits.dense_bytes;
            return refuse(
                501,
                format!("sparse tensor '{name}': {} dense needs {n_bytes} bytes, limit {limit}", list(&dims)),
            );
        }
        let places = places(name, &values, &indices, &dims, n)?;
        let mut dense = vec![0; n_bytes];
        for (element, place) in values.bytes().chunks_exact(width).zip(places) {
            dense[place * width..(place + 1) * width].copy_from_slice(element);
        }
        let data = TensorData::Inline(Arc::new(dense));
        Ok(Tensor { name: name.to_owned(), dtype: values.dtype, dims, data })
    }
}

/// Row-major positions of the elements: ascending, each below `n`.
fn places(
    name: &str,
    values: &Tensor,
    indices: &Tensor,
    dims: &[i64],
    n: usize,
) -> Result<Vec<usize>, Refusal> {
    let n_values = values.n_elements();
    if values.dims.len() != 1 {
        return refuse(244, format!("sparse tensor '{name}': values have dims {}", list(&values.dims)));
    }
    let linear = indices.dims.len() == 1;
    let shape = [i64::try_from(n_values).unwrap_or(-1), i64::try_from(dims.len()).unwrap_or(-1)];
    let expected = if linear { &shape[..1] } else { &shape[..] };
    let wide = indices.to_i64s().filter(|_| indices.dtype == OnnxType::Int64 && indices.dims == expected);
    let Some(wide) = wide else {
        return refuse(
            244,
            format!(
                "sparse tensor '{name}': indices are {} {}, need i64 {}",
                indices.dtype,
                list(&indices.dims),
                list(expected)
            ),
        );
    };
    let mut places: Vec<usize> = Vec::with_capacity(n_values);
    for i in 0..n_values {
        let place = if linear {
            usize::try_from(wide[i]).ok().filter(|&p| p < n)
        } else {
            position(&wide[i * dims.len()..(i + 1) * dims.len()], dims)
        };
        let Some(place) = place else {
            return refuse(244, format!("sparse tensor '{name}': index {i} is outside of {}", list(dims)));
        };
        if places.last().is_some_and(|&last| last >= place) {
            return refuse(244, format!("sparse tensor '{name}': index {i} is not above the one before it"));
        }
        places.push(place);
    }
    Ok(places)
}

/// Row-major position of a coordinate, if it lies within `dims`.
fn position(coordinate: &[i64], dims: &[i64]) -> Option<usize> {
    let mut place = 0i64;
    for (&c, &d) in coordinate.iter().zip(dims) {
        if !(0..d).contains(&c) {
            return None;
        }
        place = place.checked_mul(d)?.checked_add(c)?;
    }
    usize::try_from(place).ok()
}
