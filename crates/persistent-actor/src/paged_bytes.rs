//! [`PagedBytes`]: a large byte array that is changed in place, range by range.

use std::any::Any;
use std::fmt;
use std::ops::Range;
use std::sync::OnceLock;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::bytes::{Bytes, Memory};
use crate::page_tree::{PAGE, PageTree};

/// A large byte array that is changed in place; what a commit costs follows the change.
///
/// [`Bytes`] are replaced as a whole. Of `PagedBytes` a method writes some ranges, and only these
/// are committed: 4 KiB changed in 1 GiB cost what a state of 4 KiB costs. A failed call's changes
/// are taken back without a copy of the whole, because versions share their pages (of 4 KiB).
///
/// The price: the content is not one slice. Reading all of it as one, or sending it to another
/// actor, copies it.
///
/// On disk and to other tools it is a byte array like [`Bytes`], and an attribute of the one type
/// can be loaded as the other.
///
/// ```
/// use persistent_actor::PagedBytes;
/// let mut weights = PagedBytes::zeroed(1 << 20);
/// weights.write(500_000, &[1, 2, 3]);
/// let mut some = [0; 5];
/// weights.read(499_999, &mut some);
/// assert_eq!(some, [0, 1, 2, 3, 0]);
/// ```
#[derive(Clone)]
pub struct PagedBytes {
    tree: PageTree,
    /// This version as it was last encoded: all encodings of one version are one content.
    version: OnceLock<Bytes>,
}

impl PagedBytes {
    /// `len` zeros, which take next to no memory until they are written.
    #[must_use]
    pub fn zeroed(len: usize) -> Self {
        Self::over(PageTree::zeroed(len))
    }

    fn over(tree: PageTree) -> Self {
        Self { tree, version: OnceLock::new() }
    }

    /// The length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tree.len()
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `out` with the bytes from `offset` on.
    ///
    /// # Panics
    /// If they are not all there.
    pub fn read(&self, offset: usize, out: &mut [u8]) {
        self.check(offset, out.len());
        self.tree.read(offset, out);
    }

    /// A copy of a range.
    ///
    /// # Panics
    /// If the range is not within the array.
    #[must_use]
    pub fn get(&self, range: Range<usize>) -> Vec<u8> {
        let mut out = vec![0; range.len()];
        self.read(range.start, &mut out);
        out
    }

    /// Replaces the bytes from `offset` on.
    ///
    /// # Panics
    /// If the array ends before `bytes` do; nothing is written then.
    pub fn write(&mut self, offset: usize, bytes: &[u8]) {
        self.check(offset, bytes.len());
        self.version.take();
        self.tree.write(offset, bytes);
    }

    /// Replaces the bytes from `offset` on, but leaves pages alone in which nothing changes.
    pub(crate) fn write_changed(&mut self, offset: usize, bytes: &[u8]) {
        let mut changed = Vec::new();
        self.tree.visit(offset..offset + bytes.len(), |at, old| {
            let new = &bytes[at - offset..][..old.len()];
            if new != old {
                changed.push(at..at + new.len());
            }
        });
        for range in changed {
            self.version.take();
            self.tree.write(range.start, &bytes[range.start - offset..range.end - offset]);
        }
    }

    /// Gives a range to `visit` in parts of at most 4 KiB, in order, with the offset of each.
    ///
    /// # Panics
    /// If the range is not within the array.
    pub fn visit(&self, range: Range<usize>, visit: impl FnMut(usize, &[u8])) {
        self.check(range.start, range.len());
        self.tree.visit(range, visit);
    }

    /// The same for changing it in place.
    ///
    /// ```
    /// # use persistent_actor::PagedBytes;
    /// let mut bytes = PagedBytes::zeroed(10_000);
    /// bytes.visit_mut(100..9_000, |_, part| part.iter_mut().for_each(|byte| *byte += 1));
    /// assert_eq!(bytes.get(8_999..9_001), [1, 0]);
    /// ```
    ///
    /// # Panics
    /// If the range is not within the array.
    pub fn visit_mut(&mut self, range: Range<usize>, visit: impl FnMut(usize, &mut [u8])) {
        self.check(range.start, range.len());
        self.version.take();
        self.tree.visit_mut(range, visit);
    }

    /// A copy of all of it.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        self.get(0..self.len())
    }

    #[track_caller]
    fn check(&self, offset: usize, len: usize) {
        let end = offset.checked_add(len);
        assert!(
            end.is_some_and(|end| end <= self.len()),
            "{len} bytes at {offset} are not within an array of {} bytes",
            self.len()
        );
    }

    fn version(&self) -> &Bytes {
        self.version.get_or_init(|| Paged::bytes(self.tree.clone()))
    }
}

impl From<&[u8]> for PagedBytes {
    fn from(content: &[u8]) -> Self {
        let built = PageTree::build(content.len(), |index, page| {
            page.copy_from_slice(&content[index * PAGE..][..page.len()]);
            Ok::<(), std::convert::Infallible>(())
        });
        match built {
            Ok(tree) => Self::over(tree),
            Err(never) => match never {},
        }
    }
}

impl Default for PagedBytes {
    fn default() -> Self {
        Self::zeroed(0)
    }
}

impl PartialEq for PagedBytes {
    fn eq(&self, other: &Self) -> bool {
        if self.len() != other.len() {
            return false;
        }
        let mut pages = Vec::new();
        self.tree.differing(&other.tree, &mut pages);
        pages.into_iter().all(|index| self.tree.page(index) == other.tree.page(index))
    }
}

impl Eq for PagedBytes {}

impl fmt::Debug for PagedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = self.get(0..self.len().min(8));
        write!(f, "PagedBytes({} bytes, {head:?}…)", self.len())
    }
}

impl Serialize for PagedBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.version().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for PagedBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = Bytes::deserialize(deserializer)?;
        Ok(match Paged::of(&bytes) {
            Some(tree) => Self { tree: tree.clone(), version: OnceLock::from(bytes) },
            None => Self::from(&bytes[..]),
        })
    }
}

/// The memory of a [`Bytes`] that is a version of [`PagedBytes`].
pub(crate) struct Paged {
    tree: PageTree,
    /// All of it in one piece, for those who cannot do without.
    whole: OnceLock<Vec<u8>>,
}

impl Paged {
    /// A version with this content.
    pub(crate) fn bytes(tree: PageTree) -> Bytes {
        Bytes::from_memory(Box::new(Self { tree, whole: OnceLock::new() }))
    }

    /// The pages of a version; `None` if `bytes` is none.
    pub(crate) fn of(bytes: &Bytes) -> Option<&PageTree> {
        Some(&bytes.memory().as_any().downcast_ref::<Self>()?.tree)
    }

    fn copy(&self) -> Vec<u8> {
        let mut whole = vec![0; self.tree.len()];
        self.tree.read(0, &mut whole);
        whole
    }
}

impl Memory for Paged {
    fn len(&self) -> usize {
        self.tree.len()
    }

    fn as_slice(&self) -> &[u8] {
        self.whole.get_or_init(|| self.copy())
    }

    fn is_writable(&self) -> bool {
        false
    }

    fn as_mut_slice(&mut self) -> &mut [u8] {
        unreachable!("the pages of a version are shared and never written")
    }

    fn copy_to(&self, out: &mut [u8]) {
        self.tree.read(0, out);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{decode, encode};

    #[test]
    fn a_version_is_encoded_once_and_decoded_without_a_copy() {
        let mut bytes = PagedBytes::zeroed(200_000);
        let first = encode(&bytes).unwrap();
        assert!(first.is_same(&encode(&bytes).unwrap()), "nothing was changed");
        bytes.write(7, &[1]);
        let second = encode(&bytes).unwrap();
        assert!(!first.is_same(&second));
        let back: PagedBytes = decode(&second).unwrap();
        assert_eq!(back, bytes);
        assert!(encode(&back).unwrap().is_same(&second), "it is the same version");
        assert_eq!(decode::<PagedBytes>(&first).unwrap(), PagedBytes::zeroed(200_000));
    }

    #[test]
    fn paged_and_plain_byte_arrays_can_be_loaded_as_each_other() {
        for len in [10, 100_000] {
            let content: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let paged = PagedBytes::from(&content[..]);
            assert_eq!(decode::<Bytes>(&encode(&paged).unwrap()).unwrap()[..], content);
            let plain = encode(&Bytes::from(content)).unwrap();
            assert_eq!(decode::<PagedBytes>(&plain).unwrap(), paged);
        }
    }

    #[test]
    fn an_array_that_was_changed_by_its_plain_half_leaves_the_version_alone() {
        let paged = PagedBytes::zeroed(100_000);
        let mut plain: Bytes = decode(&encode(&paged).unwrap()).unwrap();
        plain.make_mut()[5] = 9;
        assert_eq!((plain[5], paged.get(5..6)), (9, vec![0]));
    }

    #[test]
    #[should_panic(expected = "5 bytes at 99998 are not within an array of 100000 bytes")]
    fn writing_beyond_the_end_says_where() {
        PagedBytes::zeroed(100_000).write(99_998, &[1; 5]);
    }
}
