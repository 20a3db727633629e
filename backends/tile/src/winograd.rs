//! winograd - the transforms of minimal filtering: m results of a window of 3 from m + 2 products instead of 3 m.
//!
//! With the matrices of F(m, 3), y = A' ((G g) * (B' d)) along one axis, and by the same along the other a square of m x m
//! results of a 3x3 window takes (m + 2)^2 products for each pair of channels. The points are 0, 1, -1 and infinity for
//! m = 2, 2 and -2 besides for m = 4, and 1/2 and -1/2 besides for m = 6: B' and A' have numbers of few bits, so that nothing
//! is rounded but sums.
//!
//! Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2015, sections 4.1 to 4.3, after Winograd,
//! "Arithmetic Complexity of Computations", 1980.

use crate::program::{Op, Ref, VectorProgram};

/// Which transforms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Winograd {
    /// F(2, 3): squares of 4x4.
    F2,
    /// F(4, 3): squares of 6x6.
    F4,
    /// F(6, 3): squares of 8x8.
    F6,
}

/// How a target adds a multiple.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Multiples {
    /// By a multiply-add.
    Fused,
    /// By a product, which is rounded unless it is by a power of two, and a sum.
    Separate,
}

const G2: [[f64; 3]; 4] = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]];
const G4: [[f64; 3]; 6] = [
    [1.0 / 4.0, 0.0, 0.0],
    [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
    [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
    [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
    [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
    [0.0, 0.0, 1.0],
];

const G6: [[f64; 3]; 8] = [
    [1.0, 0.0, 0.0],
    [-2.0 / 9.0, -2.0 / 9.0, -2.0 / 9.0],
    [-2.0 / 9.0, 2.0 / 9.0, -2.0 / 9.0],
    [1.0 / 90.0, 1.0 / 45.0, 2.0 / 45.0],
    [1.0 / 90.0, -1.0 / 45.0, 2.0 / 45.0],
    [32.0 / 45.0, 16.0 / 45.0, 8.0 / 45.0],
    [32.0 / 45.0, -16.0 / 45.0, 8.0 / 45.0],
    [0.0, 0.0, 1.0],
];

impl Winograd {
    /// All ways, those of small squares first.
    pub const ALL: [Winograd; 3] = [Winograd::F2, Winograd::F4, Winograd::F6];

    /// Results along an axis.
    #[must_use]
    pub fn m(self) -> usize {
        match self {
            Winograd::F2 => 2,
            Winograd::F4 => 4,
            Winograd::F6 => 6,
        }
    }

    /// Inputs and products along an axis.
    #[must_use]
    pub fn n(self) -> usize {
        self.m() + 2
    }

    /// The transform of the weights, one row a product.
    #[must_use]
    pub fn g(self) -> &'static [[f64; 3]] {
        match self {
            Winograd::F2 => &G2,
            Winograd::F4 => &G4,
            Winograd::F6 => &G6,
        }
    }

    /// The transform of the weights along an axis: that of `g`, its numbers rounded to `f32`. At most three roundings for
    /// each weight, beside that of the number.
    #[must_use]
    pub fn weights(self, multiples: Multiples) -> VectorProgram {
        let mut p = Lines::new(3, multiples);
        let (d, g) = (p.inputs.clone(), self.g());
        let mut results = vec![p.multiple(d[0], g[0][0])];
        // Rows between the first and the last are pairs that differ in the sign of the middle.
        for pair in g[1..g.len() - 1].chunks_exact(2) {
            let far = p.multiple(d[2], pair[0][2]);
            let even = p.add_multiple(d[0], pair[0][0] as f32, far);
            results.extend(pair.iter().map(|row| p.add_multiple(d[1], row[1] as f32, even)));
        }
        results.push(p.multiple(d[2], g[g.len() - 1][2]));
        p.finish(results)
    }

    /// The transform of the input along an axis.
    #[must_use]
    pub fn input(self, multiples: Multiples) -> VectorProgram {
        let mut p = Lines::new(self.n(), multiples);
        let d = p.inputs.clone();
        let results = match self {
            Winograd::F2 => vec![p.sub(d[0], d[2]), p.add(d[1], d[2]), p.sub(d[2], d[1]), p.sub(d[1], d[3])],
            Winograd::F4 => {
                let (even, odd) = (p.add_multiple(d[2], -4.0, d[4]), p.add_multiple(d[1], -4.0, d[3]));
                let (r1, r2) = (p.add(even, odd), p.sub(even, odd));
                let (even, odd) = (p.sub(d[4], d[2]), p.sub(d[3], d[1]));
                let (r3, r4) = (p.add_multiple(odd, 2.0, even), p.add_multiple(odd, -2.0, even));
                let (low, high) = (p.add_multiple(d[2], -5.0, d[4]), p.add_multiple(d[3], -5.0, d[5]));
                vec![p.add_multiple(d[0], 4.0, low), r1, r2, r3, r4, p.add_multiple(d[1], 4.0, high)]
            }
            Winograd::F6 => {
                let (low, far) = (p.sub(d[0], d[6]), p.sub(d[4], d[2]));
                let first = p.add_multiple(far, 5.25, low);
                let (low, far) = (p.sub(d[7], d[1]), p.sub(d[3], d[5]));
                let last = p.add_multiple(far, 5.25, low);
                let (even, odd) = (p.add(d[2], d[6]), p.add(d[1], d[5]));
                let (even, odd) = (p.add_multiple(d[4], -4.25, even), p.add_multiple(d[3], -4.25, odd));
                let (r1, r2) = (p.add(even, odd), p.sub(even, odd));
                let (even, odd) = (p.add_multiple(d[4], -1.25, d[6]), p.add_multiple(d[3], -1.25, d[5]));
                let (even, odd) = (p.add_multiple(d[2], 0.25, even), p.add_multiple(d[1], 0.25, odd));
                let (r3, r4) = (p.add_multiple(odd, 2.0, even), p.add_multiple(odd, -2.0, even));
                let (even, odd) = (p.add_multiple(d[4], -5.0, d[6]), p.add_multiple(d[3], -5.0, d[5]));
                let (even, odd) = (p.add_multiple(d[2], 4.0, even), p.add_multiple(d[1], 4.0, odd));
                let (r5, r6) = (p.add_multiple(odd, 0.5, even), p.add_multiple(odd, -0.5, even));
                vec![first, r1, r2, r3, r4, r5, r6, last]
            }
        };
        p.finish(results)
    }

    /// The transform of the products along an axis.
    #[must_use]
    pub fn output(self, multiples: Multiples) -> VectorProgram {
        let mut p = Lines::new(self.n(), multiples);
        let d = p.inputs.clone();
        let (sum, difference) = (p.add(d[1], d[2]), p.sub(d[1], d[2]));
        let results = match self {
            Winograd::F2 => vec![p.add(d[0], sum), p.sub(difference, d[3])],
            Winograd::F4 => {
                let (far_sum, far_difference) = (p.add(d[3], d[4]), p.sub(d[3], d[4]));
                let first = p.add(d[0], sum);
                let last = p.add_multiple(far_difference, 8.0, difference);
                vec![
                    p.add(first, far_sum),
                    p.add_multiple(far_difference, 2.0, difference),
                    p.add_multiple(far_sum, 4.0, sum),
                    p.add(last, d[5]),
                ]
            }
            Winograd::F6 => {
                let (far_sum, far_difference) = (p.add(d[3], d[4]), p.sub(d[3], d[4]));
                let (near_sum, near_difference) = (p.add(d[5], d[6]), p.sub(d[5], d[6]));
                let (first, others) = (p.add(d[0], sum), p.add(far_sum, near_sum));
                let mut results = vec![p.add(first, others)];
                for power in 1..5 {
                    let by = f32::from(1u16 << power);
                    let (near, far, one) = match power % 2 {
                        0 => (near_sum, far_sum, sum),
                        _ => (near_difference, far_difference, difference),
                    };
                    let near = p.add_multiple(near, 1.0 / by, one);
                    results.push(p.add_multiple(far, by, near));
                }
                let near = p.add_multiple(near_difference, 1.0 / 32.0, difference);
                let far = p.add_multiple(far_difference, 32.0, d[7]);
                results.push(p.add(near, far));
                results
            }
        };
        p.finish(results)
    }
}

/// A program in the making.
struct Lines {
    program: VectorProgram,
    inputs: Vec<Ref>,
    multiples: Multiples,
}

impl Lines {
    fn new(n: usize, multiples: Multiples) -> Self {
        let mut program = VectorProgram::new();
        let inputs = (0..n).map(|k| program.input(k as u16)).collect();
        Lines { program, inputs, multiples }
    }

    fn multiple(&mut self, a: Ref, by: f64) -> Ref {
        if by == 1.0 {
            return a;
        }
        let by = self.program.f32(by as f32);
        self.program.push(Op::Mul(a, by))
    }

    fn add(&mut self, a: Ref, b: Ref) -> Ref {
        self.program.push(Op::Add(a, b))
    }

    fn sub(&mut self, a: Ref, b: Ref) -> Ref {
        self.program.push(Op::Sub(a, b))
    }

    fn add_multiple(&mut self, a: Ref, by: f32, c: Ref) -> Ref {
        let by = self.program.f32(by);
        match self.multiples {
            Multiples::Fused => self.program.push(Op::Fma(a, by, c)),
            Multiples::Separate => {
                let multiple = self.program.push(Op::Mul(a, by));
                self.program.push(Op::Add(multiple, c))
            }
        }
    }

    fn finish(mut self, results: Vec<Ref>) -> VectorProgram {
        for result in results {
            self.program.result(result);
        }
        self.program
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::Lane;

    fn run(program: &VectorProgram, inputs: &[f64]) -> Vec<f64> {
        let lanes: Vec<Lane> = inputs.iter().map(|&x| Lane::F32(x as f32)).collect();
        program.eval(&lanes).iter().map(|lane| f64::from(lane.f32())).collect()
    }

    #[test]
    fn filtering_by_products_is_filtering() {
        // Multiples of 360 by 32 are whole numbers at every step.
        let both = |way| [Multiples::Fused, Multiples::Separate].map(|multiples| (way, multiples));
        for (way, multiples) in Winograd::ALL.into_iter().flat_map(both) {
            let g = [360.0, -720.0, 1080.0];
            let d: Vec<f64> = (0..way.n()).map(|i| 32.0 * ((i * i) as f64 - 7.0)).collect();
            let weights = way.g().iter().map(|row| row.iter().zip(g).map(|(a, b)| a * b).sum::<f64>());
            let input = run(&way.input(multiples), &d);
            let products: Vec<f64> = weights.zip(input).map(|(u, v)| (u * v).round()).collect();
            let want: Vec<f64> = (0..way.m()).map(|i| (0..3).map(|k| d[i + k] * g[k]).sum()).collect();
            assert_eq!(run(&way.output(multiples), &products), want, "{way:?}");
        }
    }

    #[test]
    fn weights_are_transformed_by_their_matrix() {
        let both = |way| [Multiples::Fused, Multiples::Separate].map(|multiples| (way, multiples));
        for (way, multiples) in Winograd::ALL.into_iter().flat_map(both) {
            let program = way.weights(multiples);
            for g in [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.75, -0.3125, 0.625]] {
                for (row, got) in way.g().iter().zip(run(&program, &g)) {
                    let terms = row.iter().zip(g).map(|(a, b)| a * b);
                    let (want, magnitude) = (terms.clone().sum::<f64>(), terms.map(f64::abs).sum::<f64>());
                    let roundings = 4.0 * f64::from(f32::EPSILON) / 2.0;
                    let bound = roundings / (1.0 - roundings) * magnitude;
                    assert!((got - want).abs() <= bound, "{way:?}: {got}, expected {want}");
                }
            }
        }
    }
}
