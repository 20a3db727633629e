//! array - tensors as `.npy` files.

use std::{
    fs::File,
    io::{BufReader, BufWriter},
    path::{Path, PathBuf},
};

use npyz::{NpyFile, WriterBuilder};

use crate::Outcome;

/// Elements of the types that engines take and give here.
pub enum Elements {
    F32(Vec<f32>),
    I64(Vec<i64>),
    I32(Vec<i32>),
    I8(Vec<i8>),
    U8(Vec<u8>),
    Bool(Vec<bool>),
}

/// A dense tensor.
pub struct Array {
    pub dims: Vec<usize>,
    pub elements: Elements,
}

impl Array {
    /// Input number `index` of the folder, which is stored by its name or its number.
    pub fn input(folder: &Path, index: usize, name: &str) -> Outcome<Self> {
        let named = folder.join(format!("{}.npy", name.replace('/', "_")));
        let path = if named.is_file() { named } else { folder.join(format!("{index}.npy")) };
        Self::read(&path)
    }

    fn read(path: &PathBuf) -> Outcome<Self> {
        let file = File::open(path).map_err(|e| format!("{}: {e}", path.display()))?;
        let npy = NpyFile::new(BufReader::new(file))?;
        let dims = npy.shape().iter().map(|&d| usize::try_from(d)).collect::<Result<_, _>>()?;
        let dtype = npy.dtype().descr();
        let elements = match dtype.trim_matches(|c| "'<|=".contains(c)) {
            "f4" => Elements::F32(npy.into_vec()?),
            "i8" => Elements::I64(npy.into_vec()?),
            "i4" => Elements::I32(npy.into_vec()?),
            "i1" => Elements::I8(npy.into_vec()?),
            "u1" => Elements::U8(npy.into_vec()?),
            "b1" => Elements::Bool(npy.into_vec()?),
            other => return Err(format!("{}: elements of type {other}", path.display()).into()),
        };
        Ok(Self { dims, elements })
    }

    pub fn write(&self, path: &Path) -> Outcome<()> {
        fn all<T: npyz::AutoSerialize + Copy>(path: &Path, dims: &[usize], elements: &[T]) -> Outcome<()> {
            let dims: Vec<u64> = dims.iter().map(|&d| d as u64).collect();
            let out = BufWriter::new(File::create(path)?);
            let mut npy = npyz::WriteOptions::new().default_dtype().shape(&dims).writer(out).begin_nd()?;
            npy.extend(elements.iter().copied())?;
            Ok(npy.finish()?)
        }
        match &self.elements {
            Elements::F32(x) => all(path, &self.dims, x),
            Elements::I64(x) => all(path, &self.dims, x),
            Elements::I32(x) => all(path, &self.dims, x),
            Elements::I8(x) => all(path, &self.dims, x),
            Elements::U8(x) => all(path, &self.dims, x),
            Elements::Bool(x) => all(path, &self.dims, x),
        }
    }
}
