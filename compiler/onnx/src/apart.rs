//! apart - reads a model file with its large weights in buffers of their own, so that each can be freed when nobody needs
//! it any more; in one buffer with the rest they would stay together until the last is done with.
//!
//! The file is followed as far as it takes to find `raw_data` of initializers. Whatever looks odd is read as it is and left
//! for the scan to judge: it sees the same positions, with zeros where large weights are.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Result};
use std::ops::Range;
use std::sync::Arc;

use crate::model::Buffer;

/// Weights of so many bytes get a buffer of their own.
const LARGE: usize = 128 << 10;
/// Bytes read at a time, between large weights.
const WINDOW: usize = 64 << 10;

/// Where the large weights are: `ModelProto.graph`, `GraphProto.initializer`, `TensorProto.raw_data`.
const PATH: [u64; 3] = [7, 5, 9];

/// The bytes of a model file.
#[derive(Debug, Default)]
pub(crate) struct Apart {
    /// All of them but for the large weights, which are zeros that take no memory.
    pub(crate) bytes: Vec<u8>,
    /// The large weights, by where they begin.
    pub(crate) large: BTreeMap<usize, Buffer>,
}

impl Apart {
    /// Bytes that are all in one buffer.
    pub(crate) fn whole(bytes: Vec<u8>) -> Self {
        Self { bytes, large: BTreeMap::new() }
    }
}

/// Reads a file of `size` bytes; the inner error is how many it has instead.
pub(crate) fn read_apart(file: impl Read, size: u64) -> Result<std::result::Result<Apart, u64>> {
    let len = usize::try_from(size).map_err(|_| ErrorKind::OutOfMemory)?;
    // Whether there is room is asked first: a vector of zeros, which takes no memory before it is written to, would end
    // the process.
    Vec::<u8>::new().try_reserve_exact(len).map_err(|_| ErrorKind::OutOfMemory)?;
    let apart = Apart::whole(vec![0; len]);
    let mut reader = Reader { file, apart, loaded: 0, ended: false };
    let followed = reader.follow()?;
    reader.load(len)?;
    let Reader { mut file, apart, loaded, ended } = reader;
    if ended {
        return Ok(Err(loaded as u64));
    }
    let grown = file.read(&mut [0])?;
    debug_assert!(followed || apart.bytes.len() == len);
    Ok(if grown == 0 { Ok(apart) } else { Err(size + grown as u64) })
}

struct Reader<F> {
    file: F,
    apart: Apart,
    /// The file was read up to here.
    loaded: usize,
    /// It has no more bytes, though it should.
    ended: bool,
}

impl<F: Read> Reader<F> {
    /// Reads up to `end` at least, if there is as much.
    fn load(&mut self, end: usize) -> Result<()> {
        let end = end.min(self.apart.bytes.len());
        while self.loaded < end && !self.ended {
            let to = end.max(self.loaded + WINDOW).min(self.apart.bytes.len());
            let n = read_full(&mut self.file, &mut self.apart.bytes[self.loaded..to])?;
            self.ended = self.loaded + n < to;
            self.loaded += n;
        }
        Ok(())
    }

    /// Follows the file; `false` if it cannot be followed to its end.
    fn follow(&mut self) -> Result<bool> {
        let mut ends = vec![self.apart.bytes.len()];
        let mut at = 0;
        while let Some(&end) = ends.last() {
            if at >= end {
                ends.pop();
                continue;
            }
            let Some((tag, next)) = self.varint(at)? else { return Ok(false) };
            let wanted = PATH.get(ends.len() - 1) == Some(&(tag >> 3));
            at = match tag & 7 {
                0 => match self.varint(next)? {
                    Some((_, next)) => next,
                    None => return Ok(false),
                },
                1 => next + 8,
                5 => next + 4,
                2 => {
                    let Some((len, from)) = self.varint(next)? else { return Ok(false) };
                    let to = usize::try_from(len).ok().and_then(|len| from.checked_add(len));
                    let Some(to) = to.filter(|&to| to <= end) else { return Ok(false) };
                    if wanted && ends.len() < PATH.len() {
                        ends.push(to);
                        from
                    } else {
                        if wanted && to - from >= LARGE {
                            self.large(from..to)?;
                        }
                        to
                    }
                }
                _ => return Ok(false),
            };
        }
        Ok(true)
    }

    fn varint(&mut self, at: usize) -> Result<Option<(u64, usize)>> {
        self.load(at + 10)?;
        let mut value = 0;
        for (i, &byte) in self.apart.bytes[..self.loaded].iter().skip(at).take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                return Ok(Some((value, at + i + 1)));
            }
        }
        Ok(None)
    }

    /// Reads a large weight into a buffer of its own.
    fn large(&mut self, range: Range<usize>) -> Result<()> {
        self.load(range.start)?;
        if self.ended {
            return Ok(());
        }
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(range.len()).map_err(|_| ErrorKind::OutOfMemory)?;
        let have = self.loaded.min(range.end);
        bytes.extend_from_slice(&self.apart.bytes[range.start..have]);
        if self.loaded < range.end {
            let missing = (range.end - self.loaded) as u64;
            let n = self.file.by_ref().take(missing).read_to_end(&mut bytes)?;
            self.loaded += n;
            self.ended = (n as u64) < missing;
        }
        if !self.ended {
            self.apart.large.insert(range.start, Arc::new(bytes));
        }
        Ok(())
    }
}

/// Fills `into` as far as there are bytes, and says how far that is.
fn read_full(file: &mut impl Read, into: &mut [u8]) -> Result<usize> {
    let mut done = 0;
    while done < into.len() {
        match file.read(&mut into[done..]) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn varint(mut x: usize) -> Vec<u8> {
        let mut out = Vec::new();
        while x >= 0x80 {
            out.push((x & 0x7f) as u8 | 0x80);
            x >>= 7;
        }
        out.push(x as u8);
        out
    }

    fn field(number: usize, bytes: &[u8]) -> Vec<u8> {
        [varint(number << 3 | 2), varint(bytes.len()), bytes.to_vec()].concat()
    }

    /// A model with weights of these lengths, and where each begins.
    fn model(lens: &[usize]) -> (Vec<u8>, Vec<usize>) {
        let mut graph = field(2, b"name");
        for (i, &len) in lens.iter().enumerate() {
            graph.extend(field(5, &[&field(8, b"w"), &field(9, &vec![i as u8 + 1; len])[..]].concat()));
        }
        graph.extend([3 << 3, 5]);
        let model = [&[8, 10][..], &field(7, &graph), &[5 << 3 | 1, 0, 0, 0, 0, 0, 0, 0, 0]].concat();
        let start = |i: usize| model.windows(8).position(|w| w.iter().all(|&b| b == i as u8 + 1)).unwrap();
        (model.clone(), (0..lens.len()).map(start).collect())
    }

    #[test]
    fn large_weights_are_apart_and_all_else_is_in_place() {
        let lens = [LARGE, 100, 3 * LARGE + 1, LARGE - 1];
        let (model, starts) = model(&lens);
        let apart = read_apart(&model[..], model.len() as u64).unwrap().unwrap();
        assert_eq!(apart.large.keys().copied().collect::<Vec<_>>(), [starts[0], starts[2]]);
        let mut joined = apart.bytes.clone();
        for (&at, bytes) in &apart.large {
            joined[at..at + bytes.len()].copy_from_slice(bytes);
        }
        assert_eq!(joined, model);
    }

    #[test]
    fn what_is_no_model_is_read_whole() {
        for bytes in
            [&b""[..], b"\x80", b"PK\x03\x04 hello", &[0xff; 300_000], &[0x3a, 0xff, 0xff, 0xff, 0xff, 0x0f]]
        {
            let apart = read_apart(bytes, bytes.len() as u64).unwrap().unwrap();
            assert_eq!((&apart.bytes[..], apart.large.len()), (bytes, 0));
        }
    }

    #[test]
    fn a_file_of_another_size_is_noticed() {
        let (model, _) = model(&[2 * LARGE, 2 * LARGE]);
        let size = model.len() as u64;
        for cut in [1, 5, 100, LARGE, LARGE + 200, 3 * LARGE, model.len()] {
            let has = read_apart(&model[..model.len() - cut], size).unwrap().unwrap_err();
            assert_eq!(has, size - cut as u64);
        }
        assert_eq!(read_apart(&[&model[..], &[0; 3]].concat()[..], size).unwrap().unwrap_err(), size + 1);
    }
}
