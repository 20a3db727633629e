//! manifest - what an artefact says about its code and weights, as a protobuf message.

use prost::Message;

use crate::elem::ElemType;
use crate::error::{Error, Result};
use crate::externs::Extern;
use crate::image;
use crate::image::Image;
use crate::signature;
use crate::signature::Signature;
use crate::target::Target;
use crate::weights::Weights;

#[derive(Clone, PartialEq, Message)]
pub(super) struct Manifest {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) triple: String,
    #[prost(string, repeated, tag = "3")]
    pub(super) features: Vec<String>,
    #[prost(message, optional, tag = "4")]
    pub(super) entries: Option<Entries>,
    #[prost(message, repeated, tag = "5")]
    pub(super) inputs: Vec<Port>,
    #[prost(message, repeated, tag = "6")]
    pub(super) outputs: Vec<Port>,
    #[prost(message, repeated, tag = "7")]
    pub(super) symbols: Vec<Symbol>,
    #[prost(message, repeated, tag = "8")]
    pub(super) weights: Vec<Weight>,
    #[prost(message, repeated, tag = "9")]
    pub(super) kernels: Vec<Kernel>,
    #[prost(string, repeated, tag = "10")]
    pub(super) nodes: Vec<String>,
    #[prost(message, repeated, tag = "11")]
    pub(super) externs: Vec<ExternName>,
    #[prost(message, repeated, tag = "12")]
    pub(super) notes: Vec<Note>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Entries {
    #[prost(uint64, tag = "1")]
    bind: u64,
    #[prost(uint64, tag = "2")]
    output_dims: u64,
    #[prost(uint64, tag = "3")]
    workspace_bytes: u64,
    #[prost(uint64, tag = "4")]
    run: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Port {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint32, tag = "2")]
    elem: u32,
    #[prost(message, repeated, tag = "3")]
    dims: Vec<Dim>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Dim {
    /// 0 fixed, 1 a symbol, 2 derived.
    #[prost(uint32, tag = "1")]
    kind: u32,
    /// The extent, the symbol's index, or 0.
    #[prost(int64, tag = "2")]
    value: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Symbol {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int64, tag = "2")]
    min: i64,
    #[prost(int64, tag = "3")]
    max: i64,
}

/// A weight section, as a range of the artefact's section 'weights'.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Weight {
    #[prost(uint64, tag = "1")]
    pub(super) offset: u64,
    #[prost(uint64, tag = "2")]
    pub(super) bytes: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Kernel {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint64, tag = "2")]
    offset: u64,
    #[prost(uint64, tag = "3")]
    len: u64,
    #[prost(uint32, repeated, tag = "4")]
    nodes: Vec<u32>,
    #[prost(string, tag = "5")]
    flops: String,
    #[prost(string, tag = "6")]
    read: String,
    #[prost(string, tag = "7")]
    written: String,
}

/// A function of the allowlist, by both its index and its name, which must agree.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ExternName {
    #[prost(uint32, tag = "1")]
    index: u32,
    #[prost(string, tag = "2")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Note {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    text: String,
}

fn bad(what: impl std::fmt::Display) -> Error {
    Error::new(707, format!("manifest: {what}"))
}

impl Manifest {
    /// The manifest of an image whose weight sections lie at these ranges.
    pub(super) fn of(image: &Image, weights: Vec<Weight>) -> Self {
        let image::Entries { bind, output_dims, workspace_bytes, run } = image.entries;
        Self {
            name: image.name.clone(),
            triple: image.target.triple.clone(),
            features: image.target.features.clone(),
            entries: Some(Entries { bind, output_dims, workspace_bytes, run }),
            inputs: image.signature.inputs.iter().map(Port::of).collect(),
            outputs: image.signature.outputs.iter().map(Port::of).collect(),
            symbols: image
                .signature
                .symbols
                .iter()
                .map(|symbol| Symbol { name: symbol.name.clone(), min: symbol.min, max: symbol.max })
                .collect(),
            weights,
            kernels: image
                .kernels
                .iter()
                .map(|kernel| Kernel {
                    name: kernel.name.clone(),
                    offset: kernel.offset,
                    len: kernel.len,
                    nodes: kernel.nodes.clone(),
                    flops: kernel.work.flops.clone(),
                    read: kernel.work.read.clone(),
                    written: kernel.work.written.clone(),
                })
                .collect(),
            nodes: image.nodes.clone(),
            externs: image
                .externs
                .iter()
                .map(|function| ExternName { index: function.index(), name: function.name().into() })
                .collect(),
            notes: image
                .notes
                .iter()
                .map(|(key, text)| Note { key: key.clone(), text: text.clone() })
                .collect(),
        }
    }

    /// Reads a manifest; only the bytes that [`Manifest::of`] would give are accepted.
    pub(super) fn read(bytes: &[u8]) -> Result<Self> {
        let manifest = Self::decode(bytes).map_err(bad)?;
        if manifest.encode_to_vec() != bytes {
            return Err(bad("not in its canonical form"));
        }
        Ok(manifest)
    }

    /// The image that this manifest, code and weights make, checked.
    pub(super) fn into_image(self, code: Vec<u8>, weights: Weights) -> Result<Image> {
        let Entries { bind, output_dims, workspace_bytes, run } =
            self.entries.ok_or_else(|| bad("no entries"))?;
        let ports = |ports: Vec<Port>| ports.into_iter().map(Port::into_port).collect::<Result<Vec<_>>>();
        let image = Image {
            name: self.name,
            target: Target { triple: self.triple, features: self.features },
            code,
            entries: image::Entries { bind, output_dims, workspace_bytes, run },
            signature: Signature {
                inputs: ports(self.inputs)?,
                outputs: ports(self.outputs)?,
                symbols: self
                    .symbols
                    .into_iter()
                    .map(|Symbol { name, min, max }| signature::Symbol { name, min, max })
                    .collect(),
            },
            weights,
            kernels: self
                .kernels
                .into_iter()
                .map(|Kernel { name, offset, len, nodes, flops, read, written }| image::Kernel {
                    name,
                    offset,
                    len,
                    nodes,
                    work: image::Work { flops, read, written },
                })
                .collect(),
            nodes: self.nodes,
            externs: self.externs.into_iter().map(ExternName::into_extern).collect::<Result<_>>()?,
            notes: self.notes.into_iter().map(|Note { key, text }| (key, text)).collect(),
        };
        image.check()?;
        Ok(image)
    }
}

impl Port {
    fn of(port: &signature::Port) -> Self {
        Self {
            name: port.name.clone(),
            elem: u32::from(port.elem.code()),
            dims: port.dims.iter().map(|&dim| Dim::of(dim)).collect(),
        }
    }

    fn into_port(self) -> Result<signature::Port> {
        let elem = ElemType::from_code(self.elem)
            .ok_or_else(|| bad(format!("'{}' has element type {}", self.name, self.elem)))?;
        let dims = self.dims.into_iter().map(Dim::into_dim).collect::<Result<_>>()?;
        Ok(signature::Port { name: self.name, elem, dims })
    }
}

impl Dim {
    fn of(dim: signature::Dim) -> Self {
        match dim {
            signature::Dim::Fixed(extent) => Self { kind: 0, value: extent },
            signature::Dim::Symbol(index) => Self { kind: 1, value: i64::from(index) },
            signature::Dim::Derived => Self { kind: 2, value: 0 },
        }
    }

    fn into_dim(self) -> Result<signature::Dim> {
        match self {
            Self { kind: 0, value } => Ok(signature::Dim::Fixed(value)),
            Self { kind: 1, value } => {
                u32::try_from(value).map(signature::Dim::Symbol).map_err(|_| bad(format!("symbol {value}")))
            }
            Self { kind: 2, value: 0 } => Ok(signature::Dim::Derived),
            Self { kind, value } => Err(bad(format!("an extent of kind {kind} and value {value}"))),
        }
    }
}

impl ExternName {
    fn into_extern(self) -> Result<Extern> {
        Extern::from_index(self.index)
            .filter(|function| function.name() == self.name)
            .ok_or_else(|| bad(format!("no function {} is '{}'", self.index, self.name)))
    }
}
