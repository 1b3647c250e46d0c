//! Many short runs of values in one allocation, so that looking at all of them reads memory in sequence.

/// Number of unused values below which a pool is left as it is.
const FEW: usize = if cfg!(test) { 64 } else { 16 * 1024 };

/// Runs of values, one behind the other.
#[derive(Default)]
pub(super) struct Pool<T> {
    items: Vec<T>,
    /// Number of values that belong to removed runs.
    unused: usize,
}

impl<T: Copy> Pool<T> {
    /// Where the next run will begin.
    pub fn end(&self) -> u32 {
        number(self.items.len())
    }

    /// Adds values to the run at the end.
    pub fn extend(&mut self, values: &[T]) {
        reserve(&mut self.items, values.len());
        self.items.extend_from_slice(values);
    }

    /// The values of a run.
    pub fn run(&self, at: u32, len: u16) -> &[T] {
        let at = at as usize;
        self.items.get(at..at + usize::from(len)).unwrap_or_default()
    }

    /// Notes that a run was removed.
    pub fn forget(&mut self, len: u16) {
        self.unused += usize::from(len);
    }

    /// Whether most of the pool is unused.
    pub fn is_wasteful(&self) -> bool {
        self.unused > FEW && self.unused > self.items.len() / 2
    }

    /// Moves the remaining runs together; `runs` are the start of each, which is updated, and its length.
    pub fn compact<'a>(&mut self, runs: impl Iterator<Item = (&'a mut u32, u16)>) {
        let used = self.items.len().saturating_sub(self.unused);
        let mut items = Vec::with_capacity(used + used / 8);
        for (at, len) in runs {
            let run = self.run(*at, len);
            *at = number(items.len());
            items.extend_from_slice(run);
        }
        *self = Self { items, unused: 0 };
    }
}

/// Reserves room in steps of an eighth: doubling would leave half of a large index empty.
pub(crate) fn reserve<T>(items: &mut Vec<T>, more: usize) {
    if items.capacity() - items.len() < more {
        items.reserve_exact(more.max(items.len() / 8).max(64));
    }
}

/// A length or place as a number, for collections far smaller than four billion.
pub(crate) fn number(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::{FEW, Pool, number};

    #[test]
    fn runs_survive_while_others_go() {
        let mut pool = Pool::default();
        let mut runs: Vec<(u32, u16, u32)> = Vec::new();
        let mut most = 0;
        for n in 0..20_000_u32 {
            let at = pool.end();
            pool.extend(&[n; 7]);
            runs.push((at, 7, n));
            if runs.len() > 10 {
                pool.forget(7);
                runs.swap_remove(n as usize % 10);
            }
            if pool.is_wasteful() {
                pool.compact(runs.iter_mut().map(|(at, len, _)| (at, *len)));
            }
            most = most.max(pool.end());
        }
        assert!(most < 4 * number(FEW), "{most}");
        for (at, len, n) in runs {
            assert_eq!(pool.run(at, len), [n; 7]);
        }
    }
}
