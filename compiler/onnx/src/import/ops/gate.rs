//! gate - the functions that gates and cells of LSTM, GRU and RNN go through.

use nnc_ir::graph::ValueId;

use super::activation;
use crate::import::{Problem, cx::OpCx};

/// A function that gates and cells go through.
#[derive(Clone, Copy)]
pub(crate) enum Activation {
    Sigmoid,
    Tanh,
    Relu,
    Affine(f32, f32),
    LeakyRelu(f32),
    ThresholdedRelu(f32),
    ScaledTanh(f32, f32),
    HardSigmoid(f32, f32),
    Elu(f32),
    Softsign,
    Softplus,
}

impl Activation {
    /// The function of that name with its parameters from the lists, from which it takes what it needs.
    fn named(
        cx: &OpCx<'_>,
        name: &str,
        alphas: &mut impl Iterator<Item = f32>,
        betas: &mut impl Iterator<Item = f32>,
    ) -> Result<Self, Problem> {
        Ok(match name.to_ascii_lowercase().as_str() {
            "sigmoid" => Self::Sigmoid,
            "tanh" => Self::Tanh,
            "relu" => Self::Relu,
            "affine" => Self::Affine(alphas.next().unwrap_or(1.0), betas.next().unwrap_or(0.0)),
            "leakyrelu" => Self::LeakyRelu(alphas.next().unwrap_or(0.01)),
            "thresholdedrelu" => Self::ThresholdedRelu(alphas.next().unwrap_or(1.0)),
            "scaledtanh" => Self::ScaledTanh(alphas.next().unwrap_or(1.0), betas.next().unwrap_or(1.0)),
            "hardsigmoid" => Self::HardSigmoid(alphas.next().unwrap_or(0.2), betas.next().unwrap_or(0.5)),
            "elu" => Self::Elu(alphas.next().unwrap_or(1.0)),
            "softsign" => Self::Softsign,
            "softplus" => Self::Softplus,
            _ => return cx.error(205, format!("activation '{name}' is not one of {}", cx.op())),
        })
    }

    /// The function of `x`.
    pub(crate) fn apply(self, cx: &mut OpCx<'_>, x: ValueId) -> Result<ValueId, Problem> {
        match self {
            Self::Sigmoid => cx.sigmoid(x),
            Self::Tanh => cx.tanh(x),
            Self::Relu => cx.relu(x),
            Self::Affine(alpha, beta) => {
                let (alpha, beta) = (cx.number_like(x, alpha.into())?, cx.number_like(x, beta.into())?);
                let x = cx.mul(x, alpha)?;
                cx.add(x, beta)
            }
            Self::LeakyRelu(alpha) => activation::leaky_relu_of(cx, x, alpha.into()),
            Self::ThresholdedRelu(alpha) => {
                let (alpha, zero) = (cx.number_like(x, alpha.into())?, cx.number_like(x, 0.0)?);
                let above = cx.lt(alpha, x)?;
                cx.select(above, x, zero)
            }
            Self::ScaledTanh(alpha, beta) => {
                let (alpha, beta) = (cx.number_like(x, alpha.into())?, cx.number_like(x, beta.into())?);
                let x = cx.mul(x, beta)?;
                let x = cx.tanh(x)?;
                cx.mul(x, alpha)
            }
            Self::HardSigmoid(alpha, beta) => activation::hard_sigmoid_of(cx, x, alpha.into(), beta.into()),
            Self::Elu(alpha) => activation::elu_of(cx, x, alpha.into()),
            Self::Softsign => activation::softsign_of(cx, x),
            Self::Softplus => activation::softplus_of(cx, x),
        }
    }
}

/// The functions of each direction.
pub(crate) fn activations(
    cx: &OpCx<'_>,
    directions: usize,
    defaults: &[&str],
) -> Result<Vec<Vec<Activation>>, Problem> {
    let all = || defaults.iter().map(|&d| d.to_owned());
    let names = cx.texts("activations")?.filter(|n| !n.is_empty());
    let names: Vec<String> = names.unwrap_or_else(|| (0..directions).flat_map(|_| all()).collect());
    if names.len() != directions * defaults.len() {
        return cx.error(205, format!("{} activations for {directions} directions", names.len()));
    }
    let mut alphas = cx.floats("activation_alpha")?.unwrap_or_default().into_iter();
    let mut betas = cx.floats("activation_beta")?.unwrap_or_default().into_iter();
    let named = names.iter().map(|n| Activation::named(cx, n, &mut alphas, &mut betas));
    let functions = named.collect::<Result<Vec<_>, _>>()?;
    Ok(functions.chunks(defaults.len()).map(<[Activation]>::to_vec).collect())
}
