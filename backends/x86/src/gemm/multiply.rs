//! multiply - the multiply-add of a product's elements: f32, or groups of small integers.
//!
//! Four bytes are one instruction of AVX-512 VNNI. Two words are a product of pairs, exact modulo 2^32, and a sum: two
//! instructions that every level has, and a register between them.

use iced_x86::Code;
use nnc_tile::product::Product;

use super::{Gen, Shape};
use crate::{
    Level,
    asm::{Lanes, Op2, Rm, V},
};

/// Registers between the two instructions.
pub(super) fn scratch(product: Product) -> usize {
    usize::from(product == Product::Words)
}

/// Whether the level has instructions for it.
pub(super) fn has(product: Product, level: Level) -> bool {
    product != Product::Bytes || level == Level::Avx512
}

impl Shape {
    /// The register between two instructions, the last but AVX2's mask.
    fn scratch(&self, level: Level) -> V {
        let mask = usize::from(self.last_b < level.lanes() && level == Level::Avx2);
        V((level.registers() - 1 - mask) as u8)
    }
}

impl Gen<'_> {
    /// `acc += a * b`; with lanes given, others of `acc` stay and memory is not read for them (AVX-512 only).
    pub(super) fn multiply(&mut self, acc: V, a: V, b: impl Into<Rm>, lanes: Lanes) {
        let b = b.into();
        match self.spec.product {
            Product::F32 => self.asm.fma(acc, a, b, lanes),
            Product::Bytes => {
                self.asm.fma_of(Code::EVEX_Vpdpbusd_zmm_k1z_zmm_zmmm512b32, acc, a, b, lanes);
            }
            Product::Words => {
                let between = self.shape.scratch(self.asm.level);
                // The product of pairs has no mask that memory would be read by.
                let b = match (b, lanes) {
                    (Rm::Mem(from), Lanes::Mask(_)) => {
                        self.asm.load(between, from, lanes);
                        Rm::Reg(between)
                    }
                    _ => b,
                };
                self.asm.op2(Op2::MulPairs, between, a, b);
                self.asm.op2(Op2::AddI, acc, acc, between);
            }
        }
    }
}
