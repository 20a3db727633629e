//! measure - times relative to the speed of multiply-adds in registers, measured in turn.

use std::time::Instant;

/// Seconds of one call, over about 0.4 ms.
pub(crate) fn time_once(f: &mut impl FnMut(), n_calls: &mut usize) -> f64 {
    loop {
        let start = Instant::now();
        (0..*n_calls).for_each(|_| f());
        let elapsed = start.elapsed().as_secs_f64();
        if elapsed > 3e-4 {
            return elapsed / *n_calls as f64;
        }
        *n_calls *= 2;
    }
}

/// Speed of a call that does `flops` operations.
pub(crate) struct Speed {
    pub(crate) gflops: f64,
    /// Share of the 128-bit peak, measured in turn with the call: clocks change, the ratio does not.
    of_narrow: f64,
}

impl std::fmt::Display for Speed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:6.1} GFLOP/s {:5.1} % of 128 bit", self.gflops, 100.0 * self.of_narrow)
    }
}

pub(crate) fn measure(flops: usize, mut f: impl FnMut()) -> Speed {
    let mut peak_128 = || peak(false);
    let (mut n_calls, mut n_peak) = (1, 1);
    f();
    // The least of many short times: other work on the machine makes some longer, and none shorter.
    let (mut least, mut least_peak) = (f64::MAX, f64::MAX);
    for _ in 0..60 {
        least_peak = least_peak.min(time_once(&mut peak_128, &mut n_peak));
        least = least.min(time_once(&mut f, &mut n_calls));
    }
    let of_narrow = flops as f64 / least / (PEAK_FMAS * 8) as f64 * least_peak;
    Speed { gflops: flops as f64 / least / 1e9, of_narrow }
}

/// Fused multiply-adds of one call of `peak`.
pub(crate) const PEAK_FMAS: usize = 12 * 1000;

/// Independent fused multiply-adds in registers, 128 or 256 bits wide. Assembly, so that the profile does not matter.
#[cfg(target_arch = "x86_64")]
pub(crate) fn peak(wide: bool) {
    use std::arch::asm;
    macro_rules! fmas {
        ($r:literal) => {
            // SAFETY: the bench needs a machine with FMA, as tiles do; only the registers named are written.
            unsafe {
                asm!(
                    "2:",
                    concat!("vfmadd231ps ", $r, "0, ", $r, "12, ", $r, "13"),
                    concat!("vfmadd231ps ", $r, "1, ", $r, "12, ", $r, "13"),
                    concat!("vfmadd231ps ", $r, "2, ", $r, "12, ", $r, "13"),
                    concat!("vfmadd231ps ", $r, "3, ", $r, "12, ", $r, "13"),
                    concat!("vfmadd231ps ", $r, "4, ", $r, "12, ", $r, "13"),
                    concat!("vfmadd231ps ", $r, "5, ", $r, "12, ", $r, "13"),
                    concat!("vfmadd231ps ", $r, "6, ", $r, "12, ", $r, "13"),
                    concat!("vfmadd231ps ", $r, "7, ", $r, "12, ", $r, "13"),
                    concat!("vfmadd231ps ", $r, "8, ", $r, "12, ", $r, "13"),
                    concat!("vfmadd231ps ", $r, "9, ", $r, "12, ", $r, "13"),
                    concat!("vfmadd231ps ", $r, "10, ", $r, "12, ", $r, "13"),
                    concat!("vfmadd231ps ", $r, "11, ", $r, "12, ", $r, "13"),
                    "dec {n}",
                    "jnz 2b",
                    n = inout(reg) PEAK_FMAS / 12 => _,
                    out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _,
                    out("xmm6") _, out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
                    in("xmm12") 0.0f32, in("xmm13") 0.0f32,
                    options(nomem, nostack),
                )
            }
        };
    }
    if wide { fmas!("ymm") } else { fmas!("xmm") }
}
