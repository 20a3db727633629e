//! fetch - weights are asked for before tiles read them.
//!
//! A panel of packed weights is read for the first time by the first rows of a block, as fast as these multiply: faster than memory
//! gives it, and the last-level cache hardly. All other rows find it in a near cache. So while rows go over a panel, each of their tiles
//! asks for a part of the next one, which lies behind it. What is behind the last panel is asked for too: mostly the next kernel's.
//!
//! Processor time with it / without, one thread of a Zen 5 core: densenet121 0.93, bert_base, minilm and resnet50 0.95, vgg19 0.96,
//! magika and mobilenetv2 0.98; 16 products of 10, 24 and 32 rows with weights of 1024x1024 0.81, 0.73 and 0.84 (`nnc bench MODEL
//! --threads 1 --json`, by turns). A step of a few rows, whose weights stay in the second-level cache, would take a fifth longer.

use cranelift_codegen::ir::Value;
use nnc_ir::extent::Extent;
use nnc_tile::gemm::{Ahead, GemmTile};

use super::emit::Gen;

/// Bytes of weights that no second-level cache holds.
const FROM_MEMORY: i64 = 1 << 20;
/// Bytes ahead of such a tile, enough for the time that memory takes: 1x4096x9216 on a Zen 5 core reads 47.8 GB/s without and
/// 54.2 with them (nnc bench).
const OWN: u32 = 8 << 10;
/// Rows of tiles that take longer to read B from memory than to multiply.
const FEW_ROWS: u16 = 8;
/// Bytes of weights that no first-level cache holds. They are asked for panel by panel where so many rows go over a panel.
const PANELS: i64 = 48 << 10;
/// Such rows. Fewer multiply for so short a time that they ask for what comes from memory only.
const OFTEN: i64 = 32;
/// Rows assumed where their number is not known.
const MANY_ROWS: i64 = 128;

/// What tiles of one contraction ask for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fetch {
    /// Bytes ahead of tiles of few rows.
    own: u32,
    next: Option<Next>,
}

/// Panels one after another.
#[derive(Clone, Copy, Debug)]
struct Next {
    /// Rows that go over a panel before the next.
    rows: i64,
    /// Steps of k that a panel has.
    steps: i64,
}

impl Fetch {
    /// Of packed weights, so many columns of all groups; the rows that go over a panel may be unknown.
    pub(super) fn of_weights(columns: usize, steps: i64, rows: Option<i64>) -> Fetch {
        let bytes = i64::try_from(columns).unwrap_or(i64::MAX).saturating_mul(steps).saturating_mul(4);
        let next = Next { rows: rows.unwrap_or(MANY_ROWS), steps };
        let pays = match next.rows {
            rows if rows <= i64::from(FEW_ROWS) => false,
            rows if rows < OFTEN => bytes >= FROM_MEMORY,
            _ => bytes >= PANELS,
        };
        Fetch { own: if bytes >= FROM_MEMORY { OWN } else { 0 }, next: pays.then_some(next) }
    }

    /// What a tile of so many rows and columns of B asks for.
    pub(super) fn ahead(&self, rows: u16, columns: i64) -> Ahead {
        if rows <= FEW_ROWS && self.own > 0 {
            return Ahead::Own(self.own);
        }
        let Some(next) = self.next else { return Ahead::Nothing };
        let tiles = (next.rows / i64::from(rows)).max(1);
        // A line is 16 elements, and lines are counted for four steps.
        let lines = (columns + 4 * tiles - 1) / (4 * tiles);
        Ahead::Lines(u16::try_from(lines).unwrap_or(u16::MAX))
    }

    /// Where the part of the next panel begins that a tile asks for, `row` rows after the first that goes over its panel.
    pub(super) fn begin(
        &self,
        g: &mut Gen<'_, '_>,
        spec: &GemmTile,
        panel: Value,
        row: Value,
    ) -> Option<Value> {
        let (Ahead::Lines(lines), Some(next)) = (spec.ahead, self.next) else { return None };
        let columns = i64::from(spec.panel) * i64::from(spec.groups());
        let behind = g.plus(panel, &Extent::Const(4 * next.steps * columns));
        // Elements that a tile asks for, a row of it.
        let each = 4 * next.steps * i64::from(lines) / i64::from(spec.rows);
        Some(g.address(behind, &[(row, Extent::Const(each))]))
    }
}
