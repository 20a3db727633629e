//! epilogue - a consumer without reduction, appended to the reduction whose result it reads.

use super::{Join, rounds_between};
use crate::{
    extent::Extent,
    form::{Ix, Load, LoopForm},
    program::{Builder, Inst},
};

/// Appends `consumer`, which has no reduction, to `producer`, which it reads as operand `operand` at the identity index.
///
/// Operand numbers of both must mean the same values.
///
/// # Errors
/// Why it cannot be.
pub fn epilogue(producer: &LoopForm, consumer: &LoopForm, operand: usize) -> Result<LoopForm, String> {
    if consumer.combine.is_some() {
        return Err("both reduce".into());
    }
    if rounds_between(producer, consumer) {
        return Err(format!("the value between them is rounded to {}", producer.results[0]));
    }
    let is_hero = |load: &Load| load.operand == operand;
    let turned =
        consumer.loads.iter().find(|l| is_hero(l)).and_then(|l| turned(producer, &l.index, &consumer.space));
    let (producer, place) = match &turned {
        Some((producer, place)) => (producer, place.clone()),
        None => (producer, LoopForm::identity(consumer.space.len())),
    };
    if producer.space != consumer.space {
        return Err("they iterate over different spaces".into());
    }
    if consumer.loads.iter().any(|l| is_hero(l) && !same_place(&l.index, &place, &consumer.space)) {
        return Err("the consumer reads the reduction at another place".into());
    }
    if consumer.loads.iter().any(|l| l.index.iter().any(|ix| hero_is_index(consumer, ix, operand))) {
        return Err("the reduced value is an index".into());
    }
    let mut join = Join { loads: producer.loads.clone() };
    let mut map: Vec<Option<usize>> = vec![None; consumer.loads.len()];
    // Loads refer to earlier ones only, so that one pass in order resolves indirections.
    for (l, load) in consumer.loads.iter().enumerate() {
        if !is_hero(load) {
            let index =
                load.index.iter().map(|ix| ix.substitute(&Ix::Axis, &|j| map[j].unwrap_or(j))).collect();
            map[l] = Some(join.add(Load { index, ..load.clone() }));
        }
    }
    let mut b = Builder::new();
    let hero = b.splice(&producer.finish, &mut |b, inst, dtype| b.push(inst.clone(), dtype))[0];
    let results = b.splice(&consumer.body, &mut |b, inst, dtype| match inst {
        Inst::Load(l) => match map[*l] {
            Some(load) => b.push(Inst::Load(load), dtype),
            None => hero,
        },
        Inst::Index(ix) => b.index(ix.substitute(&Ix::Axis, &|j| map[j].unwrap_or(j))),
        other => b.push(other.clone(), dtype),
    });
    let finish = b.finish(results);
    Ok(LoopForm { loads: join.loads, finish, results: consumer.results.clone(), ..producer.clone() })
}

/// The nest with its space axes in the order of `space`, if `index` reads its result transposed, and how it does.
fn turned(form: &LoopForm, index: &[Ix], space: &[Extent]) -> Option<(LoopForm, Vec<Ix>)> {
    let axis = |ix: &Ix| if let Ix::Axis(a) = ix { Some(*a) } else { None };
    let order: Vec<usize> = index.iter().map(axis).collect::<Option<_>>()?;
    let all_once = (0..space.len()).all(|a| order.iter().filter(|&&o| o == a).count() == 1);
    let alike =
        order.len() == space.len() && order.iter().zip(&form.space).all(|(&a, e)| space.get(a) == Some(e));
    if !all_once || !alike || order.is_sorted() {
        return None;
    }
    // Where each axis of the consumer is among the producer's.
    let own: Vec<usize> =
        (0..order.len()).map(|axis| order.iter().position(|&a| a == axis)).collect::<Option<_>>()?;
    Some((form.in_order(&own), index.to_vec()))
}

fn hero_is_index(consumer: &LoopForm, ix: &Ix, operand: usize) -> bool {
    ix.loads().into_iter().any(|l| consumer.loads[l].operand == operand)
}

/// Whether both indices name the same element: axes of extent 1 have one position.
fn same_place(a: &[Ix], b: &[Ix], space: &[Extent]) -> bool {
    a.len() == b.len() && (0..a.len()).all(|i| a[i] == b[i] || (space[i].is(1) && a[i] == Ix::int(0)))
}
