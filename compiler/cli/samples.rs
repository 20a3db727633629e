//! samples - times of any number of calls in memory that does not grow, so that keeping them costs no page fault and
//! does not count as memory of the model.

use std::time::Duration;

/// At most so many times are kept: half a MiB.
const MOST: usize = 1 << 15;

/// Times of calls: of all, or, after many, of every second, fourth, ... one.
pub(super) struct Samples {
    times: Vec<Duration>,
    /// Every which call is kept.
    stride: usize,
    /// Calls so far.
    calls: usize,
}

impl Samples {
    /// Room for times, written to once, so that noting one faults no page.
    pub(super) fn new() -> Self {
        let mut times = vec![Duration::MAX; MOST];
        times.clear();
        Self { times, stride: 1, calls: 0 }
    }

    /// Notes the time of a call.
    pub(super) fn push(&mut self, time: Duration) {
        if self.calls.is_multiple_of(self.stride) {
            if self.times.len() == MOST {
                self.thin_out();
            }
            // After thinning out, this call may be one that is left out.
            if self.calls.is_multiple_of(self.stride) {
                self.times.push(time);
            }
        }
        self.calls += 1;
    }

    /// Keeps every second time.
    fn thin_out(&mut self) {
        let mut number = 0;
        self.times.retain(|_| {
            number += 1;
            number % 2 == 1
        });
        self.stride *= 2;
    }

    /// Calls whose times were noted.
    pub(super) fn calls(&self) -> usize {
        self.calls
    }

    /// The kept times, sorted.
    pub(super) fn sorted(mut self) -> Vec<Duration> {
        self.times.sort_unstable();
        self.times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_times_are_thinned_out_evenly() {
        for calls in [1, MOST, MOST + 1, 5 * MOST + 3] {
            let mut samples = Samples::new();
            let room = samples.times.capacity();
            for i in 0..calls {
                samples.push(Duration::from_nanos(i as u64));
            }
            assert_eq!((samples.calls(), samples.times.capacity()), (calls, room));
            let stride = samples.stride;
            let kept = samples.sorted();
            assert_eq!(kept.len(), calls.div_ceil(stride), "{calls} calls");
            for (i, time) in kept.iter().enumerate() {
                assert_eq!(time.as_nanos(), (i * stride) as u128);
            }
        }
    }
}
