//! scope - names of one graph, with those of the graphs around it that share its region.

use std::{cell::RefCell, collections::HashMap};

use nnc_ir::{
    constant::Constant,
    graph::{Module, Provenance, RegionId},
};

use super::{known, value::Binding};

/// Names visible in a graph.
///
/// A graph that becomes a region of its own has no parent: what it reads from outside was entered as parameters and
/// constants. A branch that is imported in place reads through its parent.
pub(crate) struct Scope<'p> {
    parent: Option<&'p Scope<'p>>,
    /// Where nodes go.
    pub(crate) region: RegionId,
    names: RefCell<HashMap<String, Entry>>,
}

enum Entry {
    Bound(Binding),
    /// Becomes a node when it is first read.
    Constant(Constant),
}

impl<'p> Scope<'p> {
    /// No names yet, in a region of its own.
    pub(crate) fn new(region: RegionId) -> Self {
        Self { parent: None, region, names: RefCell::default() }
    }

    /// The names of `parent` and more, in the same region.
    pub(crate) fn inside(parent: &'p Scope<'p>) -> Self {
        Self { parent: Some(parent), region: parent.region, names: RefCell::default() }
    }

    /// Enters a name; later entries win.
    pub(crate) fn bind(&self, name: &str, binding: impl Into<Binding>) {
        self.names.borrow_mut().insert(name.to_owned(), Entry::Bound(binding.into()));
    }

    /// Enters a constant, which costs nothing until it is read.
    pub(crate) fn bind_constant(&self, name: &str, constant: Constant) {
        self.names.borrow_mut().insert(name.to_owned(), Entry::Constant(constant));
    }

    /// What `name` stands for.
    pub(crate) fn lookup(&self, module: &mut Module, name: &str, loc: &Provenance) -> Option<Binding> {
        let mut names = self.names.borrow_mut();
        let Some(entry) = names.get_mut(name) else {
            drop(names);
            return self.parent?.lookup(module, name, loc);
        };
        if let Entry::Constant(constant) = entry {
            let value = known::bind_constant(module, self.region, constant.clone(), loc);
            *entry = Entry::Bound(value.into());
        }
        let Entry::Bound(binding) = entry else { return None };
        Some(binding.clone())
    }
}
