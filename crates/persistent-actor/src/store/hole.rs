//! [`Zeros`]: stands for contents that are not read yet and perhaps never will be.

use std::any::Any;
use std::sync::Arc;

use crate::bytes::{Bytes, Memory};

/// Gives out [`Bytes`] of any length that nobody reads, at the cost of the longest of them.
///
/// Zeroed memory that is never touched costs address space only; but a journal may name the
/// versions of a large value thousands of times, and address space has an end, too.
#[derive(Default)]
pub(super) struct Zeros(Arc<Vec<u8>>);

impl Zeros {
    /// A content of `len` bytes; `None` if so many do not fit into memory.
    pub(super) fn hole(&mut self, len: u64) -> Option<Bytes> {
        let len = usize::try_from(len).ok()?;
        if len > self.0.len() {
            // Those given out before keep their memory: doubled, it is little beside the last.
            let enough = len.max(self.0.len().saturating_mul(2));
            // Asked for twice, because only this way does not abort, and only the other one
            // leaves the memory untouched.
            Vec::<u8>::new().try_reserve_exact(enough).ok()?;
            self.0 = Arc::new(vec![0; enough]);
        }
        Some(Bytes::from_memory(Box::new(Hole { zeros: Arc::clone(&self.0), len })))
    }
}

struct Hole {
    zeros: Arc<Vec<u8>>,
    len: usize,
}

impl Memory for Hole {
    fn as_slice(&self) -> &[u8] {
        &self.zeros[..self.len]
    }

    fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut Arc::make_mut(&mut self.zeros)[..self.len]
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_of_large_contents_cost_no_more_than_two() {
        let mut zeros = Zeros::default();
        let holes: Vec<Bytes> = (0..5000).filter_map(|n| zeros.hole((1 << 30) + n)).collect();
        assert_eq!(holes.len(), 5000);
        let mut starts: Vec<*const u8> = holes.iter().map(|hole| hole.as_ptr()).collect();
        starts.dedup();
        assert_eq!(starts.len(), 2);
        assert_eq!(holes[4999].len(), (1 << 30) + 4999);
        assert_ne!(holes[0].id(), holes[1].id(), "each has its own identity");
    }

    #[test]
    fn a_content_larger_than_all_memory_is_refused() {
        assert!(Zeros::default().hole(u64::MAX).is_none());
        assert!(Zeros::default().hole(1 << 62).is_none());
    }
}
