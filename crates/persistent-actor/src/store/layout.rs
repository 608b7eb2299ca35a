//! Little-endian fields in byte strings.

/// Bytes that do not hold what they should; says what is wrong.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) String);

/// Appends fields to a byte string.
pub(crate) trait Put {
    fn put_u8(&mut self, value: u8);
    fn put_u32(&mut self, value: u32);
    fn put_u64(&mut self, value: u64);
    fn put_u128(&mut self, value: u128);
    /// A `u16` length and UTF-8; the caller has checked the length.
    fn put_text(&mut self, text: &str);
}

impl Put for Vec<u8> {
    fn put_u8(&mut self, value: u8) {
        self.push(value);
    }

    fn put_u32(&mut self, value: u32) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn put_u64(&mut self, value: u64) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn put_u128(&mut self, value: u128) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn put_text(&mut self, text: &str) {
        let len = u16::try_from(text.len()).unwrap_or(u16::MAX);
        self.extend_from_slice(&len.to_le_bytes());
        self.extend_from_slice(&text.as_bytes()[..usize::from(len)]);
    }
}

/// Takes fields from the front of a byte string.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let Some((taken, rest)) = self.rest.split_at_checked(len) else {
            return Err(Malformed(format!("{len} bytes wanted, {} are left", self.rest.len())));
        };
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn u128(&mut self) -> Result<u128, Malformed> {
        Ok(u128::from_le_bytes(self.array()?))
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, Malformed> {
        let len = self.u16()?;
        let bytes = self.take(usize::from(len))?;
        std::str::from_utf8(bytes).map_err(|_| Malformed("a name is not UTF-8".to_owned()))
    }

    /// A number of items that each take at least `min_size` bytes: more than fit is malformed,
    /// so that memory for them may be taken.
    pub(crate) fn count(&mut self, min_size: usize) -> Result<usize, Malformed> {
        let count = self.u32()? as usize;
        if count > self.rest.len() / min_size {
            let left = self.rest.len();
            return Err(Malformed(format!("{count} items announced, {left} bytes are left")));
        }
        Ok(count)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Makes sure that nothing is left.
    pub(crate) fn finish(self) -> Result<(), Malformed> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(Malformed(format!("{left} bytes are left over"))),
        }
    }
}

/// Reads a `u32` at a fixed place of a header that is known to be long enough.
pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    let mut array = [0; 4];
    array.copy_from_slice(&bytes[offset..offset + 4]);
    u32::from_le_bytes(array)
}

/// Reads a `u64` at a fixed place of a header that is known to be long enough.
pub(crate) fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    let mut array = [0; 8];
    array.copy_from_slice(&bytes[offset..offset + 8]);
    u64::from_le_bytes(array)
}

/// Reads a `u128` at a fixed place of a header that is known to be long enough.
pub(crate) fn u128_at(bytes: &[u8], offset: usize) -> u128 {
    let mut array = [0; 16];
    array.copy_from_slice(&bytes[offset..offset + 16]);
    u128::from_le_bytes(array)
}

/// Whether all bytes are zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    // In blocks, which the compiler turns into wide instructions.
    let mut blocks = bytes.chunks_exact(64);
    blocks.all(|block| block.iter().fold(0, |all, byte| all | byte) == 0)
        && blocks.remainder().iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_items_than_bytes_are_refused_before_memory_is_taken() {
        let mut bytes = Vec::new();
        bytes.put_u32(u32::MAX);
        assert!(Reader::new(&bytes).count(1).is_err());
    }

    #[test]
    fn a_single_bit_anywhere_is_not_zero() {
        for len in [1, 63, 64, 65, 200] {
            assert!(is_zero(&vec![0; len]));
            for place in 0..len {
                let mut bytes = vec![0; len];
                bytes[place] = 1;
                assert!(!is_zero(&bytes), "{place} of {len}");
            }
        }
    }
}
