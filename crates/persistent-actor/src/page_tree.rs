//! [`PageTree`]: a large content in pages, of which two versions share all that is the same.
//!
//! A persistent vector in the sense of Driscoll, Sarnak, Sleator, Tarjan ("Making data structures
//! persistent", 1989), by path copying: a clone costs a counter, a write copies the page that it
//! touches and the few nodes above it, and what two versions differ in is found by looking only
//! where they do not share.

use std::ops::Range;
use std::sync::Arc;

/// The unit of sharing. Bytes.
pub(crate) const PAGE: usize = 4096;
/// How many children a node has at most. Few, because copying a node touches the counter of each.
const FANOUT: usize = 32;

#[derive(Clone)]
enum Node {
    Page(Box<[u8; PAGE]>),
    Branch(Vec<Arc<Node>>),
}

/// A content of a fixed length in pages; what of the last page lies beyond it is zero.
#[derive(Clone)]
pub(crate) struct PageTree {
    len: usize,
    /// How many levels of branches are above the pages.
    height: u32,
    root: Arc<Node>,
}

/// How many pages a node of this height spans at most.
fn span(height: u32) -> usize {
    FANOUT.saturating_pow(height)
}

impl PageTree {
    /// A content of `len` bytes whose pages are written by `fill`, in order. It gets the number
    /// of each page and the part of it that belongs to the content, all zero.
    pub(crate) fn build<E>(
        len: usize,
        mut fill: impl FnMut(usize, &mut [u8]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut level = Vec::with_capacity(len.div_ceil(PAGE));
        for index in 0..len.div_ceil(PAGE) {
            let mut page = Box::new([0; PAGE]);
            fill(index, &mut page[..(len - index * PAGE).min(PAGE)])?;
            level.push(Arc::new(Node::Page(page)));
        }
        Ok(Self::over(len, level))
    }

    /// A content of zeros: all its pages are one.
    pub(crate) fn zeroed(len: usize) -> Self {
        let page = Arc::new(Node::Page(Box::new([0; PAGE])));
        let mut tree = Self { len, height: 0, root: page };
        while span(tree.height) < len.div_ceil(PAGE) {
            tree.root = Arc::new(Node::Branch(vec![tree.root; FANOUT]));
            tree.height += 1;
        }
        tree
    }

    fn over(len: usize, mut level: Vec<Arc<Node>>) -> Self {
        let mut height = 0;
        while level.len() > 1 {
            let nodes = level.chunks(FANOUT).map(|nodes| Arc::new(Node::Branch(nodes.to_vec())));
            level = nodes.collect();
            height += 1;
        }
        let root = level.pop().unwrap_or_else(|| Arc::new(Node::Page(Box::new([0; PAGE]))));
        Self { len, height, root }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// How many pages the content has.
    pub(crate) fn pages(&self) -> usize {
        self.len.div_ceil(PAGE)
    }

    /// The part of a page that belongs to the content.
    pub(crate) fn page(&self, index: usize) -> &[u8] {
        let mut node = &*self.root;
        let mut height = self.height;
        loop {
            match node {
                Node::Page(page) => return &page[..(self.len - index * PAGE).min(PAGE)],
                Node::Branch(children) => {
                    height -= 1;
                    node = &children[index / span(height) % FANOUT];
                }
            }
        }
    }

    /// The same for writing; what other versions share is copied first.
    fn page_mut(&mut self, index: usize) -> &mut [u8] {
        let len = (self.len - index * PAGE).min(PAGE);
        let mut node = Arc::make_mut(&mut self.root);
        let mut height = self.height;
        loop {
            match node {
                Node::Page(page) => return &mut page[..len],
                Node::Branch(children) => {
                    height -= 1;
                    node = Arc::make_mut(&mut children[index / span(height) % FANOUT]);
                }
            }
        }
    }

    /// Gives the parts of the pages that lie in `range` to `visit`, in order, with the offset of
    /// each.
    pub(crate) fn visit(&self, range: Range<usize>, mut visit: impl FnMut(usize, &[u8])) {
        for (index, part) in parts(range) {
            visit(index * PAGE + part.start, &self.page(index)[part]);
        }
    }

    /// The same for writing.
    pub(crate) fn visit_mut(
        &mut self,
        range: Range<usize>,
        mut visit: impl FnMut(usize, &mut [u8]),
    ) {
        for (index, part) in parts(range) {
            visit(index * PAGE + part.start, &mut self.page_mut(index)[part]);
        }
    }

    /// Copies what lies from `offset` on.
    pub(crate) fn read(&self, offset: usize, out: &mut [u8]) {
        self.visit(offset..offset + out.len(), |at, part| {
            out[at - offset..][..part.len()].copy_from_slice(part);
        });
    }

    /// Replaces what lies from `offset` on.
    pub(crate) fn write(&mut self, offset: usize, bytes: &[u8]) {
        self.visit_mut(offset..offset + bytes.len(), |at, part| {
            part.copy_from_slice(&bytes[at - offset..][..part.len()]);
        });
    }

    /// Gives the numbers of the pages that may differ from those of `other` to `found`, in
    /// order: those that are not shared. Both must have one length.
    pub(crate) fn differing(&self, other: &Self, found: &mut Vec<usize>) {
        debug_assert_eq!(self.len, other.len, "versions of one length are compared");
        differing(&self.root, &other.root, self.height, 0, self.pages(), found);
    }
}

fn differing(
    a: &Arc<Node>,
    b: &Arc<Node>,
    height: u32,
    first: usize,
    pages: usize,
    found: &mut Vec<usize>,
) {
    if first >= pages || Arc::ptr_eq(a, b) {
        return;
    }
    match (&**a, &**b) {
        (Node::Branch(a), Node::Branch(b)) => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                let first = first + index * span(height - 1);
                differing(a, b, height - 1, first, pages, found);
            }
        }
        // Trees of one length have one shape.
        _ => found.push(first),
    }
}

/// The pages that a range touches, and which part of each.
fn parts(range: Range<usize>) -> impl Iterator<Item = (usize, Range<usize>)> {
    let pages = if range.is_empty() { 0..0 } else { range.start / PAGE..range.end.div_ceil(PAGE) };
    pages.map(move |index| {
        let start = range.start.saturating_sub(index * PAGE);
        (index, start..(range.end - index * PAGE).min(PAGE))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(content: &[u8]) -> PageTree {
        PageTree::build(content.len(), |index, page| {
            page.copy_from_slice(&content[index * PAGE..][..page.len()]);
            Ok::<(), ()>(())
        })
        .unwrap()
    }

    fn content(len: usize) -> Vec<u8> {
        (0..len).map(|n| (n / 3) as u8).collect()
    }

    fn differing(a: &PageTree, b: &PageTree) -> Vec<usize> {
        let mut found = Vec::new();
        a.differing(b, &mut found);
        found
    }

    #[test]
    fn a_content_of_any_length_reads_back() {
        for len in [0, 1, PAGE - 1, PAGE, PAGE + 1, 32 * PAGE, 33 * PAGE + 5, 1025 * PAGE] {
            let content = content(len);
            let mut out = vec![0; len];
            tree(&content).read(0, &mut out);
            assert!(out == content, "{len}");
            let mut zeros = PageTree::zeroed(len);
            zeros.write(0, &content);
            zeros.read(0, &mut out);
            assert!(out == content, "{len}");
        }
    }

    #[test]
    fn a_write_leaves_other_versions_alone_and_is_all_that_differs() {
        let old = tree(&content(1100 * PAGE + 9));
        let mut new = old.clone();
        new.write(40 * PAGE - 2, &[1, 2, 3, 4]);
        new.write(1100 * PAGE + 8, &[7]);
        assert_eq!(differing(&old, &new), [39, 40, 1100]);
        let (mut before, mut after) = ([0; 4], [0; 4]);
        old.read(40 * PAGE - 2, &mut before);
        new.read(40 * PAGE - 2, &mut after);
        assert_eq!(after, [1, 2, 3, 4]);
        assert_eq!(before[..], content(41 * PAGE)[40 * PAGE - 2..][..4]);
    }

    #[test]
    fn pages_beyond_the_content_never_differ() {
        let a = PageTree::zeroed(33 * PAGE);
        let mut b = a.clone();
        b.write(32 * PAGE, &[1]);
        assert_eq!(differing(&a, &b), [32]);
        assert_eq!(differing(&b, &b.clone()), []);
    }
}
