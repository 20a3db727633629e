//! signature - what a program takes and gives, with the checks of a call against it.

use crate::abi::MAX_RANK;
use crate::elem::{ElemType, tensor_bytes};
use crate::error::{Error, Result};
use crate::tensor::TensorView;

/// An extent of an input or output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dim {
    /// Known when compiling.
    Fixed(i64),
    /// The symbol with this index, as it stands.
    Symbol(u32),
    /// Something else: checked (inputs) or computed (outputs) by the program.
    Derived,
}

/// A run-time unknown of the program.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Symbol {
    /// Name, `N`.
    pub name: String,
    /// Smallest value it may have.
    pub min: i64,
    /// Largest value it may have; `i64::MAX` for no bound.
    pub max: i64,
}

/// An input or output.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Port {
    /// Name in the model.
    pub name: String,
    /// Element type.
    pub elem: ElemType,
    /// Extents.
    pub dims: Vec<Dim>,
}

/// What a program takes and gives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Signature {
    /// Inputs, in order.
    pub inputs: Vec<Port>,
    /// Outputs, in order.
    pub outputs: Vec<Port>,
    /// Symbols, by index.
    pub symbols: Vec<Symbol>,
}

/// Where a symbol got its value: indices of input and dim.
pub(crate) type BoundAt = Option<(usize, usize)>;

impl Port {
    /// The type as text, `f32[N, 3, ?]`.
    #[must_use]
    pub fn type_text(&self, symbols: &[Symbol]) -> String {
        let dims: Vec<_> = self.dims.iter().map(|&dim| dim_text(dim, symbols)).collect();
        format!("{}[{}]", self.elem, dims.join(", "))
    }
}

fn dim_text(dim: Dim, symbols: &[Symbol]) -> String {
    match dim {
        Dim::Fixed(extent) => extent.to_string(),
        Dim::Symbol(index) => symbols.get(index as usize).map_or("?", |symbol| &symbol.name).to_string(),
        Dim::Derived => "?".to_string(),
    }
}

impl Signature {
    /// Checks that the signature makes sense by itself.
    ///
    /// # Errors
    /// E0707 naming the port.
    pub(crate) fn check(&self) -> Result<()> {
        let bad = |message: String| Err(Error::new(707, message));
        for symbol in &self.symbols {
            if symbol.min < 0 || symbol.min > symbol.max {
                return bad(format!(
                    "symbol '{}' has the range {}..={}",
                    symbol.name, symbol.min, symbol.max
                ));
            }
        }
        for port in self.inputs.iter().chain(&self.outputs) {
            if port.dims.len() > MAX_RANK {
                return bad(format!("'{}' has rank {}, the limit is {MAX_RANK}", port.name, port.dims.len()));
            }
            for &dim in &port.dims {
                match dim {
                    Dim::Fixed(extent) if extent < 0 => {
                        return bad(format!("'{}' has the extent {extent}", port.name));
                    }
                    Dim::Symbol(index) if index as usize >= self.symbols.len() => {
                        return bad(format!("'{}' has an extent of no symbol ({index})", port.name));
                    }
                    _ => {}
                }
            }
        }
        let mut names: Vec<_> = self.inputs.iter().map(|port| &port.name).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return bad(format!("two inputs are named '{}'", pair[0]));
        }
        Ok(())
    }

    /// Puts inputs given by name into the program's order.
    ///
    /// # Errors
    /// E0801 for a missing, unknown or twice given name.
    pub fn arrange<'a>(&self, named: &[(&str, TensorView<'a>)]) -> Result<Vec<TensorView<'a>>> {
        for (k, (name, _)) in named.iter().enumerate() {
            if !self.inputs.iter().any(|port| port.name == *name) {
                return Err(
                    Error::new(801, format!("no input is named '{name}'")).with_help(self.input_names())
                );
            }
            if named[..k].iter().any(|(earlier, _)| earlier == name) {
                return Err(Error::new(801, format!("input '{name}' is given twice")));
            }
        }
        let find = |name: &str| named.iter().find(|(given, _)| *given == name).map(|&(_, view)| view);
        self.inputs
            .iter()
            .map(|port| {
                find(&port.name).ok_or_else(|| {
                    Error::new(801, format!("input '{}' is not given", port.name))
                        .with_help(self.input_names())
                })
            })
            .collect()
    }

    fn input_names(&self) -> String {
        let types = |port: &Port| format!("'{}' {}", port.name, port.type_text(&self.symbols));
        format!("the inputs are {}", self.inputs.iter().map(types).collect::<Vec<_>>().join(", "))
    }

    /// Checks inputs and binds the symbols that are input axes as they stand; the others become 0.
    /// `values` and `bound_at` are as long as `symbols`.
    pub(crate) fn bind(
        &self,
        inputs: &[TensorView<'_>],
        values: &mut [i64],
        bound_at: &mut [BoundAt],
    ) -> Result<()> {
        if inputs.len() != self.inputs.len() {
            let message = format!("the program has {} inputs, given {}", self.inputs.len(), inputs.len());
            return Err(Error::new(801, message).with_help(self.input_names()));
        }
        values.fill(0);
        bound_at.fill(None);
        for (i, (port, view)) in self.inputs.iter().zip(inputs).enumerate() {
            self.bind_input(i, port, view, values, bound_at)?;
        }
        Ok(())
    }

    fn bind_input(
        &self,
        i: usize,
        port: &Port,
        view: &TensorView<'_>,
        values: &mut [i64],
        bound_at: &mut [BoundAt],
    ) -> Result<()> {
        let name = &port.name;
        let bad = |code: u16, what: String| {
            let help = format!("the program takes {}", port.type_text(&self.symbols));
            Err(Error::new(code, format!("input '{name}': {what}")).with_help(help))
        };
        if view.elem != port.elem {
            return bad(802, format!("element type is {}, given {}", port.elem, view.elem));
        }
        if view.dims.len() != port.dims.len() {
            return bad(802, format!("rank is {}, given {}", port.dims.len(), view.dims.len()));
        }
        for (d, (&dim, &given)) in port.dims.iter().zip(view.dims).enumerate() {
            if given < 0 {
                return bad(802, format!("dim {d} is negative ({given})"));
            }
            match dim {
                Dim::Derived => {}
                Dim::Fixed(extent) => {
                    if given != extent {
                        return bad(802, format!("dim {d} is {extent}, given {given}"));
                    }
                }
                Dim::Symbol(index) => {
                    let index = index as usize;
                    let symbol = &self.symbols[index];
                    if !(symbol.min..=symbol.max).contains(&given) {
                        return bad(
                            802,
                            format!("dim {d} ({}) is {}, given {given}", symbol.name, range_text(symbol)),
                        );
                    }
                    match bound_at[index] {
                        None => {
                            values[index] = given;
                            bound_at[index] = Some((i, d));
                        }
                        Some((earlier, at)) if values[index] != given => {
                            let (first, value) = (&self.inputs[earlier].name, values[index]);
                            return bad(
                                236,
                                format!(
                                    "dim {d} gives {} = {given}, but dim {at} of '{first}' gave {value}",
                                    symbol.name
                                ),
                            );
                        }
                        Some(_) => {}
                    }
                }
            }
        }
        match tensor_bytes(view.elem, view.dims) {
            Some(bytes) if bytes == view.bytes.len() => Ok(()),
            Some(bytes) => bad(
                803,
                format!("{}{:?} has {bytes} bytes, given {}", view.elem, view.dims, view.bytes.len()),
            ),
            None => bad(
                803,
                format!("{}{:?} has over 2^63 bytes, given {}", view.elem, view.dims, view.bytes.len()),
            ),
        }
    }
}

fn range_text(symbol: &Symbol) -> String {
    if symbol.max == i64::MAX {
        format!("at least {}", symbol.min)
    } else {
        format!("{}..={}", symbol.min, symbol.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature() -> Signature {
        let port = |name: &str, elem, dims: &[Dim]| Port { name: name.into(), elem, dims: dims.to_vec() };
        Signature {
            inputs: vec![
                port("x", ElemType::F32, &[Dim::Symbol(0), Dim::Fixed(2)]),
                port("y", ElemType::I64, &[Dim::Symbol(0), Dim::Derived]),
            ],
            outputs: vec![port("z", ElemType::F32, &[Dim::Symbol(0)])],
            symbols: vec![Symbol { name: "N".into(), min: 1, max: 4 }],
        }
    }

    fn bind(x: TensorView<'_>, y: TensorView<'_>) -> Result<i64> {
        let mut values = [99];
        signature().bind(&[x, y], &mut values, &mut [None])?;
        Ok(values[0])
    }

    fn view<'a>(elem: ElemType, dims: &'a [i64], bytes: &'a [u8]) -> TensorView<'a> {
        TensorView { elem, dims, bytes }
    }

    #[test]
    fn symbols_are_bound() {
        signature().check().unwrap();
        let x = view(ElemType::F32, &[3, 2], &[0; 24]);
        assert_eq!(bind(x, view(ElemType::I64, &[3, 0], &[])), Ok(3));
    }

    #[test]
    fn every_mismatch_names_both_sides() {
        let (f, i, zeros) = (ElemType::F32, ElemType::I64, [0; 400]);
        let y = view(i, &[3, 1], &zeros[..24]);
        let x = view(f, &[3, 2], &zeros[..24]);
        let cases = [
            (bind(view(i, &[3, 2], &zeros[..48]), y), 802, "input 'x': element type is f32, given i64"),
            (bind(view(f, &[3], &zeros[..12]), y), 802, "input 'x': rank is 2, given 1"),
            (bind(view(f, &[3, 5], &zeros[..60]), y), 802, "input 'x': dim 1 is 2, given 5"),
            (bind(view(f, &[-3, 2], &[]), y), 802, "input 'x': dim 0 is negative (-3)"),
            (bind(view(f, &[5, 2], &zeros[..40]), y), 802, "input 'x': dim 0 (N) is 1..=4, given 5"),
            (bind(view(f, &[0, 2], &[]), y), 802, "input 'x': dim 0 (N) is 1..=4, given 0"),
            (
                bind(x, view(i, &[2, 1], &zeros[..16])),
                236,
                "input 'y': dim 0 gives N = 2, but dim 0 of 'x' gave 3",
            ),
            (bind(view(f, &[3, 2], &zeros[..25]), y), 803, "input 'x': f32[3, 2] has 24 bytes, given 25"),
            (
                bind(x, view(i, &[3, i64::MAX], &zeros[..24])),
                803,
                "input 'y': i64[3, 9223372036854775807] has over 2^63 bytes, given 24",
            ),
        ];
        for (result, code, message) in cases {
            let error = result.unwrap_err();
            assert_eq!((error.code(), error.message()), (code, message));
            assert!(error.help().is_some());
        }
        let error = signature().bind(&[x], &mut [0], &mut [None]).unwrap_err();
        assert_eq!((error.code(), error.message()), (801, "the program has 2 inputs, given 1"));
    }

    #[test]
    fn names_are_arranged() {
        let x = view(ElemType::F32, &[1, 2], &[]);
        let y = view(ElemType::I64, &[1, 2], &[]);
        let ordered = signature().arrange(&[("y", y), ("x", x)]).unwrap();
        assert_eq!(ordered[0].elem, ElemType::F32);
        for (named, message) in [
            (vec![("x", x)], "input 'y' is not given"),
            (vec![("x", x), ("y", y), ("q", y)], "no input is named 'q'"),
            (vec![("x", x), ("y", y), ("x", y)], "input 'x' is given twice"),
        ] {
            let error = signature().arrange(&named).unwrap_err();
            assert_eq!((error.code(), error.message()), (801, message));
        }
    }

    #[test]
    fn senseless_signatures_are_refused() {
        let change = |change: &dyn Fn(&mut Signature)| {
            let mut signature = signature();
            change(&mut signature);
            signature.check().unwrap_err().code()
        };
        assert_eq!(change(&|s| s.inputs[1].name = "x".into()), 707);
        assert_eq!(change(&|s| s.inputs[1].dims[0] = Dim::Symbol(1)), 707);
        assert_eq!(change(&|s| s.outputs[0].dims[0] = Dim::Fixed(-1)), 707);
        assert_eq!(change(&|s| s.outputs[0].dims = vec![Dim::Derived; 33]), 707);
        assert_eq!(change(&|s| s.symbols[0].min = 5), 707);
        assert_eq!(change(&|s| s.symbols[0].min = -1), 707);
    }
}
