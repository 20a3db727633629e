//! tract_engine - models under tract, optimized for the extents of the inputs.

use std::path::Path;

use tract_linalg::multithread;
use tract_onnx::prelude::*;

use crate::{
    Engine, Outcome,
    array::{Array, Elements},
};

pub const VERSION: &str = "0.23.9";

pub struct Tract {
    plan: Box<dyn State>,
    inputs: TVec<TValue>,
    last: TVec<TValue>,
}

impl Tract {
    pub fn load(path: &Path, inputs: &Path, threads: usize) -> Outcome<Self> {
        if threads > 1 {
            multithread::set_default_executor(multithread::Executor::multithread(threads));
        }
        let mut model = tract_onnx::onnx().model_for_path(path)?;
        let mut bound = tvec!();
        for i in 0..model.input_outlets()?.len() {
            let node = model.input_outlets()?[i].node;
            let tensor = tensor(Array::input(inputs, i, &model.node(node).name)?)?;
            let fact = InferenceFact::dt_shape(tensor.datum_type(), TVec::from_slice(tensor.shape()));
            model.set_input_fact(i, fact)?;
            bound.push(tensor.into_tvalue());
        }
        let plan = model.into_optimized()?.into_runnable()?;
        Ok(Self { plan: Runnable::spawn(&plan)?, inputs: bound, last: tvec!() })
    }
}

fn tensor(array: Array) -> Outcome<Tensor> {
    let dims = array.dims.as_slice();
    Ok(match array.elements {
        Elements::F32(x) => Tensor::from_shape(dims, &x)?,
        Elements::I64(x) => Tensor::from_shape(dims, &x)?,
        Elements::I32(x) => Tensor::from_shape(dims, &x)?,
        Elements::I8(x) => Tensor::from_shape(dims, &x)?,
        Elements::U8(x) => Tensor::from_shape(dims, &x)?,
        Elements::Bool(x) => Tensor::from_shape(dims, &x)?,
    })
}

impl Engine for Tract {
    fn run(&mut self) -> Outcome<()> {
        self.last = self.plan.run(self.inputs.clone())?;
        Ok(())
    }

    fn outputs(&self) -> Outcome<Vec<Array>> {
        self.last.iter().map(|value| array(value)).collect()
    }
}

fn array(tensor: &Tensor) -> Outcome<Array> {
    let dims = tensor.shape().to_vec();
    fn all<T: Datum + Copy>(tensor: &Tensor) -> Outcome<Vec<T>> {
        Ok(tensor.cast_to::<T>()?.to_plain_array_view::<T>()?.iter().copied().collect())
    }
    let elements = match tensor.datum_type().unquantized() {
        DatumType::F32 | DatumType::F16 => Elements::F32(all(tensor)?),
        DatumType::I64 => Elements::I64(all(tensor)?),
        DatumType::I32 => Elements::I32(all(tensor)?),
        DatumType::I8 => Elements::I8(all(tensor)?),
        DatumType::U8 => Elements::U8(all(tensor)?),
        DatumType::Bool => Elements::Bool(all(tensor)?),
        t if t == TDim::datum_type() => Elements::I64(all(tensor)?),
        other => return Err(format!("an output of type {other:?}").into()),
    };
    Ok(Array { dims, elements })
}
