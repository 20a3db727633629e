//! inline - a producer without reduction, evaluated where its consumer reads it.

use super::{
    Join,
    range::{can_check, guard_moves, guards_itself, select_in_range},
    rounds_between,
};
use crate::{
    dtype::{DType, Scalar},
    form::{Bounds, Class, Ix, Load, LoopForm},
    program::{Builder, Inst, Program, Ref},
};

/// Evaluates `producer`, which has no reduction and one result, where `consumer` reads it by load `k`.
///
/// Operand numbers of both must mean the same values.
///
/// # Errors
/// Why it cannot be.
pub fn inline(consumer: &LoopForm, k: usize, producer: &LoopForm) -> Result<LoopForm, String> {
    let read = &consumer.loads[k];
    if producer.combine.is_some() {
        return Err("the producer reduces".into());
    }
    if rounds_between(producer, consumer) {
        return Err(format!("the value between them is rounded to {}", producer.results[0]));
    }
    if read.bounds == Bounds::Check && !can_check(consumer, read, producer) {
        return Err("the consumer's index is checked when running".into());
    }
    let guarded = matches!(read.bounds, Bounds::Guard(_));
    if guarded && producer.loads.iter().any(|l| l.bounds == Bounds::Check) {
        return Err("the producer's index is checked when running, and the consumer pads".into());
    }
    if consumer.loads.iter().any(|l| l.index.iter().any(|ix| ix.loads().contains(&k))) {
        return Err("the value is an index".into());
    }
    let mut joint = Joint {
        consumer,
        k,
        producer,
        join: Join { loads: Vec::new() },
        own: vec![None; consumer.loads.len()],
        inner: vec![None; producer.loads.len()],
    };
    let (body, finish) = (joint.program(&consumer.body), joint.program(&consumer.finish));
    let joined = LoopForm { loads: joint.join.loads, body, finish, ..consumer.clone() };
    if consumer.class() == Class::Contraction && joined.class() != Class::Contraction {
        return Err("the producer would be computed again for every product".into());
    }
    Ok(joined)
}

/// The joined nest under construction.
struct Joint<'a> {
    consumer: &'a LoopForm,
    /// The load of the consumer that reads the producer.
    k: usize,
    producer: &'a LoopForm,
    join: Join,
    /// Where loads of the consumer are in it.
    own: Vec<Option<usize>>,
    /// Where loads of the producer are in it.
    inner: Vec<Option<usize>>,
}

impl<'a> Joint<'a> {
    /// The read of the producer.
    fn read(&self) -> &'a Load {
        &self.consumer.loads[self.k]
    }

    /// A program of the consumer, with the producer's value where it is read.
    fn program(&mut self, program: &Program) -> Program {
        let mut b = Builder::new();
        let results = b.splice(program, &mut |b, inst, dtype| match inst {
            Inst::Load(l) if *l == self.k => self.value(b, dtype),
            Inst::Load(l) => {
                let load = self.own_load(*l);
                b.push(Inst::Load(load), dtype)
            }
            Inst::Index(ix) => {
                let ix = self.own_index(ix);
                b.index(ix)
            }
            other => b.push(other.clone(), dtype),
        });
        b.finish(results)
    }

    /// The producer's value, or the guard value of the read.
    fn value(&mut self, b: &mut Builder, dtype: DType) -> Ref {
        let (consumer, read, producer) = (self.consumer, self.read(), self.producer);
        if let Some(l) = guard_moves(consumer, read, producer) {
            let load = self.guarded_load(l);
            return b.push(Inst::Load(load), dtype);
        }
        let value = self.computed(b);
        if guards_itself(consumer, read, producer) { value } else { select_in_range(b, read, value) }
    }

    /// Splices the producer's body at the consumer's index.
    fn computed(&mut self, b: &mut Builder) -> Ref {
        let at = self.place();
        b.splice(&self.producer.body, &mut |b, inst, dtype| match inst {
            Inst::Load(l) => {
                let load = self.inner_load(*l, &at);
                b.push(Inst::Load(load), dtype)
            }
            Inst::Index(ix) => {
                let ix = self.inner_index(ix, &at);
                b.index(ix)
            }
            other => b.push(other.clone(), dtype),
        })[0]
    }

    /// Load `l` of the producer with the guard of the read as its own.
    fn guarded_load(&mut self, l: usize) -> usize {
        let at = self.place();
        let load = &self.producer.loads[l];
        let index = load.index.iter().map(|ix| self.inner_index(ix, &at)).collect();
        self.join.add(Load { index, bounds: self.read().bounds, ..load.clone() })
    }

    /// What stands for the producer's axes: where the consumer reads.
    fn place(&mut self) -> Vec<Ix> {
        self.read().index.iter().map(|ix| self.own_index(ix)).collect()
    }

    fn own_load(&mut self, l: usize) -> usize {
        if let Some(known) = self.own[l] {
            return known;
        }
        let load = &self.consumer.loads[l];
        let index = load.index.iter().map(|ix| self.own_index(ix)).collect();
        let new = self.join.add(Load { index, ..load.clone() });
        self.own[l] = Some(new);
        new
    }

    fn own_index(&mut self, ix: &Ix) -> Ix {
        for l in ix.loads() {
            self.own_load(l);
        }
        ix.substitute(&Ix::Axis, &|l| self.own[l].unwrap_or(l))
    }

    fn inner_load(&mut self, l: usize, at: &[Ix]) -> usize {
        if let Some(known) = self.inner[l] {
            return known;
        }
        let load = &self.producer.loads[l];
        let index = load.index.iter().map(|ix| self.inner_index(ix, at)).collect();
        let bounds = match (load.bounds, self.read().bounds) {
            (Bounds::Inside, Bounds::Guard(_)) => Bounds::Guard(Scalar::zero(load.dtype)),
            (Bounds::Inside, Bounds::Check) => Bounds::Check,
            (own, _) => own,
        };
        let new = self.join.add(Load { index, bounds, ..load.clone() });
        self.inner[l] = Some(new);
        new
    }

    fn inner_index(&mut self, ix: &Ix, at: &[Ix]) -> Ix {
        for l in ix.loads() {
            self.inner_load(l, at);
        }
        ix.substitute(&|axis| at[axis].clone(), &|l| self.inner[l].unwrap_or(l))
    }
}
