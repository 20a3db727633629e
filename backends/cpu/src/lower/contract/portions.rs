//! portions - how much of a convolution with channels last is one item: rows of the result, and panels of columns.

/// Items there should be where there is enough work.
const ITEMS: i64 = 16;

/// The work that there is.
pub(super) struct Portions {
    /// Items that an image should have.
    wanted: i64,
    /// Rows of the result.
    rows: i64,
    /// Multiply-adds of one.
    row_work: i64,
    /// Multiply-adds an item should have at least.
    least: i64,
}

impl Portions {
    pub(super) fn new(images: i64, rows: i64, row_work: i64, least: i64) -> Self {
        Portions { wanted: (ITEMS + images - 1) / images, rows, row_work, least }
    }

    /// Rows of an item: all if so many fit, but enough items, where `cut` says that these come of rows.
    pub(super) fn rows(&self, cut: bool, fit: i64) -> i64 {
        let parts = if cut { self.wanted } else { 1 };
        (self.rows / parts).max(self.least / self.row_work).clamp(1, fit.min(self.rows))
    }

    /// Panels of an item of so many rows.
    pub(super) fn panels(&self, rows: i64, panels: i64) -> i64 {
        let (blocks, most) = ((self.rows + rows - 1) / rows, panels.max(1));
        let work = (self.row_work / most).saturating_mul(rows).max(1);
        let groups = ((self.wanted + blocks - 1) / blocks).clamp(1, most);
        ((panels + groups - 1) / groups).max(self.least / work).clamp(1, most)
    }
}
