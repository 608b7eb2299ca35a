//! Values whose content can be checked: each byte says which generation it belongs to.

use std::ops::Range;

use persistent_actor::Bytes;

/// The shortest value: the number of its generation. Bytes.
pub(crate) const MIN_LEN: usize = 8;

/// The values of one length: pseudo-random bytes, which do not compress, plus the generation.
pub(crate) struct Pattern {
    base: Vec<u8>,
}

impl Pattern {
    /// Values of `len` bytes, at least [`MIN_LEN`]; the same in every process.
    pub(crate) fn new(len: usize) -> Self {
        let mut base = vec![0; len];
        let mut random: u64 = 0x9e37_79b9_7f4a_7c15;
        for block in base.chunks_mut(8) {
            // Xorshift64: G. Marsaglia, "Xorshift RNGs", Journal of Statistical Software 8 (14).
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            block.copy_from_slice(&random.to_le_bytes()[..block.len()]);
        }
        Self { base }
    }

    /// The value of a generation: different from its neighbours in every byte.
    pub(crate) fn value(&self, generation: u64) -> Bytes {
        Bytes::build(self.base.len(), |out| {
            let step = generation.to_le_bytes()[0];
            for (out, base) in out.iter_mut().zip(&self.base) {
                *out = base.wrapping_add(step);
            }
            out[..MIN_LEN].copy_from_slice(&generation.to_le_bytes());
        })
    }

    /// Which generation a value is; `None` if it is none, or parts of several.
    pub(crate) fn generation(&self, value: &[u8]) -> Option<u64> {
        let mut first = [0; MIN_LEN];
        first.copy_from_slice(value.get(..MIN_LEN)?);
        let generation = u64::from_le_bytes(first);
        (value.len() == self.base.len() && *self.value(generation) == *value).then_some(generation)
    }
}

/// A copy of `value` in which the bytes of `range` are different.
pub(crate) fn changed(value: &Bytes, range: Range<usize>) -> Bytes {
    Bytes::build(value.len(), |out| {
        out.copy_from_slice(value);
        for byte in &mut out[range] {
            *byte = byte.wrapping_add(1);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_tells_its_generation_and_a_mixture_of_two_tells_none() {
        let pattern = Pattern::new(1000);
        let (old, new) = (pattern.value(300), pattern.value(301));
        assert_eq!(pattern.generation(&old), Some(300));
        let mut mixed = new.to_vec();
        mixed[500..].copy_from_slice(&old[500..]);
        assert_eq!(pattern.generation(&mixed), None);
        assert_eq!(pattern.generation(&new[..999]), None);
    }

    #[test]
    fn a_change_stays_in_its_range() {
        let value = Pattern::new(100).value(1);
        let new = changed(&value, 10..20);
        let differing: Vec<usize> = (0..100).filter(|&index| value[index] != new[index]).collect();
        assert_eq!(differing, (10..20).collect::<Vec<_>>());
    }
}
