//! tests - the pool: partition, nesting, contention, panics, sleep.

use std::sync::atomic::AtomicI64;

use super::*;

/// Calls of one loop, sorted by part.
fn parts_of(pool: &Pool, n: i64) -> Vec<(i64, i64, i64)> {
    let seen = Mutex::new(Vec::new());
    pool.for_each(n, |begin, end, worker| seen.lock().unwrap().push((worker, begin, end)));
    let mut seen = seen.into_inner().unwrap();
    seen.sort_unstable();
    seen
}

#[test]
fn bounds_cover_the_range_in_order() {
    for n in [1, 2, 3, 7, 64, 1000, i64::MAX] {
        for parts in [1, 2, 3, 7, 1024] {
            if parts > n {
                continue;
            }
            let mut at = 0;
            for part in 0..parts {
                let (begin, end) = bounds(n, parts, part);
                assert_eq!(begin, at);
                assert!(end - begin == n / parts || end - begin == n / parts + 1);
                at = end;
            }
            assert_eq!(at, n);
        }
    }
}

#[test]
fn partition_never_depends_on_timing() {
    for threads in [1, 2, 3, 8, 17] {
        let pool = Pool::new(threads);
        for n in [0, 1, 2, 5, 16, 17, 1001] {
            let parts = (threads as i64).min(n);
            let want: Vec<_> = (0..parts)
                .map(|part| {
                    let (begin, end) = bounds(n, parts, part);
                    (part, begin, end)
                })
                .collect();
            for _ in 0..50 {
                assert_eq!(parts_of(&pool, n), want);
            }
        }
        assert!(parts_of(&pool, -5).is_empty());
    }
}

#[test]
fn many_short_loops_lose_nothing() {
    let pool = Pool::new(4);
    let sum = AtomicI64::new(0);
    for _ in 0..20_000 {
        pool.for_each(10, |begin, end, _| {
            sum.fetch_add((begin..end).sum(), Ordering::Relaxed);
        });
    }
    assert_eq!(sum.into_inner(), 20_000 * 45);
}

#[test]
fn nested_loops_run_inline_with_the_same_worker() {
    let pool = Pool::new(3);
    let count = AtomicI64::new(0);
    pool.for_each(9, |begin, end, worker| {
        for _ in begin..end {
            pool.for_each(100, |b, e, inner| {
                assert_eq!((b, e, inner), (0, 100, worker));
                count.fetch_add(e - b, Ordering::Relaxed);
            });
        }
    });
    assert_eq!(count.into_inner(), 900);
}

#[test]
fn a_pool_inside_of_another_has_its_own_workers() {
    let (outer, inner) = (Pool::new(4), Pool::new(2));
    outer.for_each(4, |_, _, _| {
        assert_eq!(parts_of(&inner, 6), [(0, 0, 3), (1, 3, 6)]);
    });
}

#[test]
fn two_callers_share_a_pool() {
    let pool = Pool::new(2);
    let run = || {
        for _ in 0..2000 {
            assert_eq!(parts_of(&pool, 5), [(0, 0, 3), (1, 3, 5)]);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(run);
        scope.spawn(run);
    });
}

#[test]
fn workers_wake_from_sleep() {
    let pool = Pool::new(2);
    for _ in 0..5 {
        std::thread::sleep(Duration::from_millis(5));
        let threads = Mutex::new(std::collections::BTreeSet::new());
        pool.for_each(2, |_, _, _| {
            threads.lock().unwrap().insert(format!("{:?}", std::thread::current().id()));
            // Long enough that the other one wakes and takes its part.
            std::thread::sleep(Duration::from_millis(50));
        });
        assert_eq!(threads.into_inner().unwrap().len(), 2);
    }
}

#[test]
fn panics_are_passed_on_and_the_pool_goes_on() {
    let pool = Pool::new(4);
    for part in 0..4 {
        let run = || pool.for_each(4, |_, _, worker| assert!(worker != part, "part {worker}"));
        let panic = catch_unwind(AssertUnwindSafe(run)).unwrap_err();
        assert_eq!(panic.downcast_ref::<String>(), Some(&format!("part {part}")));
        assert_eq!(parts_of(&pool, 4).len(), 4);
    }
}

#[test]
fn pools_start_and_stop() {
    for _ in 0..200 {
        let pool = Pool::new(3);
        assert_eq!(parts_of(&pool, 3).len(), 3);
    }
    assert_eq!(Pool::new(0).threads(), 1);
    assert!(available_threads() >= 1);
}
