//! Passes side by side, each on cores of its own.
//!
//! burn's CPU backend deals every large product out to all cores. Where each core has a pass of its own to
//! make, the cores then wait for each other at every product. Here the cores are divided among the passes,
//! and what a pass deals out stays on its own: two passes of ViT-B/16's text tower on two cores take a tenth
//! less time.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

use super::Compute;

impl Compute {
    /// What `work` makes of every part, in their order. On a CPU as many at once as there are cores, and the
    /// earlier first; on a GPU one after the other.
    pub fn side_by_side<T: Send, R: Send>(&self, parts: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
        match self.try_side_by_side(parts, |part| Ok::<_, Infallible>(work(part))) {
            Ok(found) => found,
            Err(never) => match never {},
        }
    }

    /// [`side_by_side`](Self::side_by_side), until something fails: then no further part is begun.
    ///
    /// # Errors
    /// That of the first part that failed.
    pub fn try_side_by_side<T: Send, R: Send, E: Send>(
        &self,
        parts: Vec<T>,
        work: impl Fn(T) -> Result<R, E> + Sync,
    ) -> Result<Vec<R>, E> {
        on_cores(self.passes_at_once(), parts, work)
    }

    /// What `work` makes of each item, in their order, collected. On a CPU they share all cores, each as many
    /// as it can use; a GPU computes one at a time, for a second would only take its memory.
    pub fn each<T: Send, R: Send, C>(
        &self,
        items: impl IntoParallelIterator<Item = T> + IntoIterator<Item = T>,
        work: impl Fn(T) -> R + Sync + Send,
    ) -> C
    where
        C: FromIterator<R> + FromParallelIterator<R>,
    {
        if self.is_cpu() {
            items.into_par_iter().map(work).collect()
        } else {
            items.into_iter().map(work).collect()
        }
    }
}

fn on_cores<T: Send, R: Send, E: Send>(
    cores: usize,
    parts: Vec<T>,
    work: impl Fn(T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let at_once = cores.min(parts.len());
    if at_once < 2 {
        return parts.into_iter().map(work).collect();
    }
    let waiting = Mutex::new(parts.into_iter().enumerate());
    let found = Mutex::new(Vec::new());
    let next = || lock(&waiting).next();
    let in_turn = || {
        while let Some((place, part)) = next() {
            let outcome = work(part);
            if outcome.is_err() {
                lock(&waiting).by_ref().for_each(drop);
            }
            lock(&found).push((place, outcome));
        }
    };
    thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| match take_pool(cores / at_once) {
                Ok(pool) => {
                    pool.install(in_turn);
                    give_back(pool);
                }
                // Without threads of its own it deals out to all cores, which is slower, and the same.
                Err(_) => in_turn(),
            });
        }
    });
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.sort_by_key(|(place, _)| *place);
    found.into_iter().map(|(_, outcome)| outcome).collect()
}

/// Pools that nobody uses, by their threads: a step of a small model takes less time than starting them.
static IDLE: Mutex<BTreeMap<usize, Vec<ThreadPool>>> = Mutex::new(BTreeMap::new());

fn take_pool(threads: usize) -> Result<ThreadPool, ThreadPoolBuildError> {
    let idle = lock(&IDLE).get_mut(&threads).and_then(Vec::pop);
    idle.map_or_else(|| ThreadPoolBuilder::new().num_threads(threads).build(), Ok)
}

fn give_back(pool: ThreadPool) {
    lock(&IDLE).entry(pool.current_num_threads()).or_default().push(pool);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
        ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
    }

    #[test]
    fn what_comes_back_is_in_order_whatever_takes_longer() {
        for threads in [1, 2, 5] {
            let found = on_threads(threads, || {
                Compute::cpu().side_by_side((0..20_u64).collect(), |part| {
                    thread::sleep(std::time::Duration::from_micros(500 * (20 - part)));
                    part * part
                })
            });
            assert_eq!(found, (0..20).map(|part| part * part).collect::<Vec<u64>>());
        }
    }

    #[test]
    fn the_cores_are_divided_among_the_parts_and_theirs_among_their_own() {
        let cores = |parts: usize| {
            on_threads(4, || Compute::cpu().side_by_side(vec![(); parts], |()| rayon::current_num_threads()))
        };
        assert_eq!(cores(1), [4]);
        assert_eq!(cores(2), [2, 2]);
        assert_eq!(cores(3), [1, 1, 1]);
        let within = on_threads(4, || {
            Compute::cpu().side_by_side(vec![(); 2], |()| {
                Compute::cpu().side_by_side(vec![(); 2], |()| rayon::current_num_threads())
            })
        });
        assert_eq!(within, [[1, 1], [1, 1]]);
    }

    #[test]
    fn after_a_failure_nothing_is_begun() {
        let begun = Mutex::new(0);
        let outcome = on_threads(2, || {
            Compute::cpu().try_side_by_side((0..1000).collect(), |part| {
                *lock(&begun) += 1;
                thread::sleep(std::time::Duration::from_millis(1));
                if part == 3 { Err(part) } else { Ok(()) }
            })
        });
        assert_eq!(outcome, Err(3));
        assert!(*lock(&begun) < 1000, "all were begun");
    }
}
