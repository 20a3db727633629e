//! probe - what this machine can do at most: multiply-adds a second, and bytes a second read from each level of memory.
//!
//! These are the roofline that profiles are held against. The figures are the best of some rounds of about a millisecond,
//! all threads at once; another load on the machine makes them smaller.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::arena::AlignedBytes;
use crate::error::Result;
use crate::threads::Pool;

/// Sizes for each thread at which reading is measured: within the first cache, the second, the last (twice), and memory.
const SIZES: [usize; 5] = [16 << 10, 256 << 10, 3 << 20, 12 << 20, 96 << 20];

/// How long a round takes about. Short ones have the machine to themselves more often.
const ROUND: Duration = Duration::from_millis(1);
/// Rounds, of which the best counts.
const ROUNDS: usize = 16;

/// The limits of this machine for so many threads.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    /// Threads that worked at once.
    pub threads: usize,
    /// `f32` operations a second, a multiply-add counted as two.
    pub flops: f64,
    /// Bytes of a working set, all threads together, and bytes a second that are read from one of at most that size.
    pub reads: Vec<(u64, f64)>,
}

impl Machine {
    /// Measures, in less than a second.
    ///
    /// # Errors
    /// E0501 when there is no memory for it.
    pub fn measure(pool: &Pool) -> Result<Self> {
        let threads = pool.threads();
        let mut buffers = Vec::with_capacity(threads);
        for _ in 0..threads {
            let mut buffer = AlignedBytes::zeroed(SIZES[SIZES.len() - 1])?;
            // Pages that were never written to are all one page of zeros.
            buffer.fill(1);
            buffers.push(buffer);
        }
        let rate = |amount: f64, work: &(dyn Fn(usize) + Sync)| {
            let mut turns = 1;
            let mut best = 0f64;
            let mut rounds = 0;
            while rounds < ROUNDS {
                let start = Instant::now();
                pool.for_each(threads as i64, |begin, end, _| {
                    (begin..end).for_each(|thread| (0..turns).for_each(|_| work(thread as usize)));
                });
                let time = start.elapsed();
                best = best.max(amount * (threads * turns) as f64 / time.as_secs_f64());
                if time < ROUND / 2 {
                    turns *= 2;
                } else {
                    rounds += 1;
                }
            }
            best
        };
        let flops = rate(fma_flops(1000), &|_| {
            black_box(fma(1000));
        });
        let reads = SIZES.map(|size| {
            let bytes = rate(size as f64, &|thread| {
                black_box(read(&buffers[thread][..size]));
            });
            ((size * threads) as u64, bytes)
        });
        Ok(Self { threads, flops, reads: reads.to_vec() })
    }

    /// Least time for so many operations on so many bytes, which are read or written at the speed of the smallest level
    /// that holds them.
    #[must_use]
    pub fn least_seconds(&self, flops: f64, bytes: f64) -> f64 {
        // Caches hold about twice what was read within each.
        let level = self.reads.iter().find(|(size, _)| bytes <= 2.0 * *size as f64).or(self.reads.last());
        let traffic = level.map_or(0.0, |(_, rate)| bytes / rate);
        (flops / self.flops).max(traffic)
    }
}

#[cfg(target_arch = "x86_64")]
mod kernels {
    use std::arch::x86_64::{
        __m256, __m512, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_or_ps, _mm256_set1_ps, _mm256_setzero_ps,
        _mm512_castps_si512, _mm512_castsi512_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_or_si512,
        _mm512_set1_ps, _mm512_setzero_ps,
    };

    // Two a cycle for four cycles are under way; more would not all be kept in registers.
    const WIDE: usize = 12;
    const NARROW: usize = 12;

    fn has_512() -> bool {
        std::is_x86_feature_detected!("avx512f")
    }

    fn has_256() -> bool {
        std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma")
    }

    pub(super) fn fma_flops(turns: usize) -> f64 {
        let per_turn = match (has_512(), has_256()) {
            (true, _) => WIDE * 16,
            (_, true) => NARROW * 8,
            _ => super::portable::LANES,
        };
        (2 * per_turn * turns) as f64
    }

    pub(super) fn fma(turns: usize) -> f32 {
        if has_512() {
            // SAFETY: the processor has the feature.
            unsafe { fma_512(turns) }
        } else if has_256() {
            // SAFETY: the processor has the features.
            unsafe { fma_256(turns) }
        } else {
            super::portable::multiply_add(turns)
        }
    }

    pub(super) fn read(bytes: &[u8]) -> u64 {
        if has_512() {
            // SAFETY: the processor has the feature.
            unsafe { read_512(bytes) }
        } else if has_256() {
            // SAFETY: the processor has the features.
            unsafe { read_256(bytes) }
        } else {
            super::portable::read(bytes)
        }
    }

    #[target_feature(enable = "avx512f")]
    fn fma_512(turns: usize) -> f32 {
        let mut sums = [_mm512_set1_ps(1.0); WIDE];
        let (x, y) = (_mm512_set1_ps(std::hint::black_box(0.5)), _mm512_set1_ps(0.25));
        for _ in 0..turns {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(*sum, x, y);
            }
        }
        let sum: __m512 = sums.into_iter().fold(_mm512_setzero_ps(), |a, b| _mm512_fmadd_ps(b, x, a));
        std::arch::x86_64::_mm512_cvtss_f32(sum)
    }

    #[target_feature(enable = "avx2,fma")]
    fn fma_256(turns: usize) -> f32 {
        let mut sums = [_mm256_set1_ps(1.0); NARROW];
        let (x, y) = (_mm256_set1_ps(std::hint::black_box(0.5)), _mm256_set1_ps(0.25));
        for _ in 0..turns {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(*sum, x, y);
            }
        }
        let sum: __m256 = sums.into_iter().fold(_mm256_setzero_ps(), |a, b| _mm256_fmadd_ps(b, x, a));
        std::arch::x86_64::_mm256_cvtss_f32(sum)
    }

    #[target_feature(enable = "avx512f")]
    fn read_512(bytes: &[u8]) -> u64 {
        let mut all = [_mm512_castps_si512(_mm512_setzero_ps()); 8];
        for block in bytes.as_chunks::<512>().0 {
            for (i, all) in all.iter_mut().enumerate() {
                // SAFETY: the block has 512 bytes, of which this reads 64 at 64 i, and i is below 8.
                let x = unsafe { _mm512_loadu_ps(block.as_ptr().add(64 * i).cast()) };
                *all = _mm512_or_si512(*all, _mm512_castps_si512(x));
            }
        }
        let all = all.into_iter().reduce(|a, b| _mm512_or_si512(a, b)).expect("there are eight");
        u64::from(std::arch::x86_64::_mm512_cvtss_f32(_mm512_castsi512_ps(all)).to_bits())
    }

    #[target_feature(enable = "avx2,fma")]
    fn read_256(bytes: &[u8]) -> u64 {
        let mut all = [_mm256_setzero_ps(); 8];
        for block in bytes.as_chunks::<256>().0 {
            for (i, all) in all.iter_mut().enumerate() {
                // SAFETY: the block has 256 bytes, of which this reads 32 at 32 i, and i is below 8.
                let x = unsafe { _mm256_loadu_ps(block.as_ptr().add(32 * i).cast()) };
                *all = _mm256_or_ps(*all, x);
            }
        }
        let all = all.into_iter().reduce(|a, b| _mm256_or_ps(a, b)).expect("there are eight");
        u64::from(std::arch::x86_64::_mm256_cvtss_f32(all).to_bits())
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod kernels {
    pub(super) use super::portable::{multiply_add as fma, read};

    pub(super) fn fma_flops(turns: usize) -> f64 {
        (2 * super::portable::LANES * turns) as f64
    }
}

use kernels::{fma, fma_flops, read};

/// For processors without vectors that are known here: as well as the compiler does it.
mod portable {
    pub(super) const LANES: usize = 64;

    pub(super) fn multiply_add(turns: usize) -> f32 {
        let mut sums = [1f32; LANES];
        let (x, y) = (std::hint::black_box(0.5f32), 0.25);
        for _ in 0..turns {
            for sum in &mut sums {
                *sum = if cfg!(target_arch = "aarch64") { sum.mul_add(x, y) } else { *sum * x + y };
            }
        }
        sums.iter().sum()
    }

    pub(super) fn read(bytes: &[u8]) -> u64 {
        let mut all = [0u64; 32];
        for block in bytes.as_chunks::<256>().0 {
            for (all, x) in all.iter_mut().zip(block.as_chunks::<8>().0) {
                *all |= u64::from_ne_bytes(*x);
            }
        }
        all.into_iter().fold(0, |a, b| a | b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_positive_and_the_least_time_is_the_longer_of_two() {
        let machine = Machine {
            threads: 1,
            flops: 100e9,
            reads: vec![(16 << 10, 200e9), (256 << 10, 100e9), (96 << 20, 10e9)],
        };
        assert_eq!(machine.least_seconds(1e9, 0.0), 0.01);
        assert_eq!(machine.least_seconds(0.0, 20_000.0), 20_000.0 / 200e9);
        assert_eq!(machine.least_seconds(0.0, 1e9), 0.1);
        assert_eq!(machine.least_seconds(20e9, 1e9), 0.2);
    }

    #[test]
    fn every_kernel_gives_something() {
        assert!(fma(10).is_finite() && fma_flops(10) > 0.0);
        let bytes = vec![3u8; 1024];
        assert_eq!(read(&bytes) as u32, 0x0303_0303);
        assert_eq!(portable::read(&bytes), 0x0303_0303_0303_0303);
        assert!(portable::multiply_add(10) > 0.0);
    }
}
