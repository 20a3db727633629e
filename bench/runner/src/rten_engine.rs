//! rten_engine - models under rten, with weights packed when loading.

use std::path::Path;

use rten::{Model, ModelOptions, NodeId, Value};
use rten_tensor::{AsView, Layout, Tensor};

use crate::{
    Engine, Outcome,
    array::{Array, Elements},
};

pub const VERSION: &str = "0.27.0";

/// Does `job` on a thread of rten's pool, as its callers should: from outside, every run pays for handing itself over.
pub fn in_pool<R: Send>(threads: usize, job: impl FnOnce() -> R + Send) -> R {
    // SAFETY: no other thread is there yet.
    unsafe { std::env::set_var("RTEN_NUM_THREADS", threads.to_string()) };
    rten::thread_pool().run(job)
}

pub struct Rten {
    model: Model,
    inputs: Vec<(NodeId, Value)>,
    last: Vec<Value>,
}

impl Rten {
    pub fn load(path: &Path, inputs: &Path) -> Outcome<Self> {
        let mut options = ModelOptions::with_all_ops();
        options.prepack_weights(true);
        let model = options.load_file(path)?;
        let mut bound = Vec::new();
        for (i, &id) in model.input_ids().iter().enumerate() {
            let name = model.node_info(id).and_then(|n| n.name().map(str::to_owned)).unwrap_or_default();
            bound.push((id, value(Array::input(inputs, i, &name)?)));
        }
        Ok(Self { model, inputs: bound, last: Vec::new() })
    }
}

/// 64-bit integers and truth values are 32-bit integers there.
fn value(array: Array) -> Value {
    let dims = array.dims.as_slice();
    match array.elements {
        Elements::F32(x) => Tensor::from_data(dims, x).into(),
        Elements::I64(x) => Tensor::from_data(dims, x.iter().map(|&x| x as i32).collect::<Vec<_>>()).into(),
        Elements::I32(x) => Tensor::from_data(dims, x).into(),
        Elements::I8(x) => Tensor::from_data(dims, x).into(),
        Elements::U8(x) => Tensor::from_data(dims, x).into(),
        Elements::Bool(x) => {
            Tensor::from_data(dims, x.iter().map(|&x| i32::from(x)).collect::<Vec<_>>()).into()
        }
    }
}

impl Engine for Rten {
    fn run(&mut self) -> Outcome<()> {
        let views = self.inputs.iter().map(|(id, value)| (*id, value.as_view().into())).collect();
        self.last = self.model.run(views, self.model.output_ids(), None)?;
        Ok(())
    }

    fn outputs(&self) -> Outcome<Vec<Array>> {
        let array = |value: &Value| {
            let (dims, elements) = match value {
                Value::FloatTensor(t) => (t.shape(), Elements::F32(t.to_vec())),
                Value::Int32Tensor(t) => (t.shape(), Elements::I32(t.to_vec())),
                Value::Int8Tensor(t) => (t.shape(), Elements::I8(t.to_vec())),
                Value::UInt8Tensor(t) => (t.shape(), Elements::U8(t.to_vec())),
                _ => return Err("an output is no tensor".into()),
            };
            Ok(Array { dims: dims.to_vec(), elements })
        };
        self.last.iter().map(array).collect()
    }
}
