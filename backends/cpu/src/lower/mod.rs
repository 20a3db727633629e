//! lower - forms to kernels.
