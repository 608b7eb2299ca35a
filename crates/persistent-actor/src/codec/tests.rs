//! What is encoded is decoded, and nothing else.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::integer::Integer;

#[test]
fn small_arrays_stay_inside_and_large_ones_travel_beside() {
    let small = Bytes::from(vec![7; 100]);
    let large = Bytes::from(vec![8; BLOB_MIN_BYTES]);
    let encoded = encode(&(small.clone(), large.clone(), 5)).unwrap();
    assert_eq!(encoded.blobs.len(), 1);
    assert!(encoded.inline.len() < 200);
    let (a, b, c): (Bytes, Bytes, i32) = decode(&encoded).unwrap();
    assert_eq!((&a, c), (&small, 5));
    assert_eq!(b.id(), large.id(), "a large array is shared, not copied");
}

#[test]
fn a_blob_that_is_not_there_is_an_error() {
    let mut encoded = encode(&Bytes::from(vec![0; BLOB_MIN_BYTES])).unwrap();
    encoded.blobs.clear();
    let error = decode::<Bytes>(&encoded).unwrap_err().to_string();
    assert!(error.contains("no blob 0"), "{error}");
}

#[test]
fn bytes_left_over_are_an_error() {
    let mut encoded = encode(&1u8).unwrap();
    encoded.inline.push(0);
    assert!(decode::<u8>(&encoded).unwrap_err().to_string().contains("left over"));
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Image {
    title: String,
    content: Bytes,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Flattened {
    before: Bytes,
    #[serde(flatten)]
    image: Image,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum InternallyTagged {
    Image(Image),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(u8),
    Image(Image),
}

#[test]
fn arrays_of_every_size_load_behind_what_serde_reads_before_it_knows_the_type() {
    for len in [BLOB_MIN_BYTES - 1, BLOB_MIN_BYTES, 3 * BLOB_MIN_BYTES] {
        let content = Bytes::from(vec![0xDA; len]);
        let image = Image { title: "x".repeat(30), content: content.clone() };
        let flattened = Flattened { before: content, image: image.clone() };
        let tagged = InternallyTagged::Image(image.clone());
        let value = (flattened, tagged, [Untagged::Number(1), Untagged::Image(image)]);
        let mut encoded = encode(&value).unwrap();
        assert_eq!(decode::<(_, _, [Untagged; 2])>(&encoded).unwrap(), value, "{len}");
        if encoded.blobs.pop().is_some() {
            assert!(decode::<(Flattened, InternallyTagged, [Untagged; 2])>(&encoded).is_err());
        }
    }
}

/// What ciborium counts in different ways.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Tree {
    Nothing,
    Number(i64),
    Text(String),
    Wide(i128),
    Large(Integer),
    Array(Bytes),
    One(Box<Tree>),
    Two(Box<Tree>, Box<Tree>),
    Named { before: Bytes, child: Box<Tree>, after: Vec<Tree> },
    List(Vec<Tree>),
    Maybe(Option<Box<Tree>>),
    Map(BTreeMap<String, Tree>),
    Flat(Flat),
    Tagged(Required<Box<Tree>, 7>),
    Captured(Captured<Box<Tree>>),
}

/// Written as a map whose length is not announced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Flat {
    child: Box<Tree>,
    #[serde(flatten)]
    numbers: BTreeMap<String, u8>,
}

const LEAVES: usize = 11;
const WRAPS: usize = 11;

fn leaf(kind: usize) -> Tree {
    match kind % LEAVES {
        0 => Tree::Nothing,
        1 => Tree::Number(-5_000_000_000),
        2 => Tree::Text("x".repeat(300)),
        3 => Tree::Wide(i128::MAX),
        4 => Tree::Large(Integer::from(1)),
        5 => Tree::Large(Integer(Integer::from(u128::MAX).0 * 2)),
        6 => Tree::Array(Bytes::from(vec![0x81; 200])),
        7 => Tree::Array(Bytes::from(vec![0x81; BLOB_MIN_BYTES])),
        8 => Tree::Maybe(None),
        9 => Tree::Map(BTreeMap::new()),
        _ => Tree::List(Vec::new()),
    }
}

fn wrap(kind: usize, tree: Tree) -> Tree {
    let (other, child) = (leaf(kind), Box::new(tree));
    match kind % WRAPS {
        0 => Tree::One(child),
        1 => Tree::Two(Box::new(other), child),
        2 => Tree::Two(child, Box::new(other)),
        3 => Tree::Named { before: Bytes::default(), child, after: vec![other.clone(), other] },
        4 => Tree::List(vec![other.clone(), *child, other]),
        5 => Tree::Maybe(Some(child)),
        6 => Tree::Map([("a".to_owned(), other), ("b".to_owned(), *child)].into()),
        7 => Tree::Flat(Flat { child, numbers: [("a".to_owned(), 1)].into() }),
        8 => Tree::Tagged(Required(child)),
        9 => Tree::Captured(Captured(None, child)),
        _ => Tree::Captured(Captured(Some(6), child)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_value_is_encoded_if_and_only_if_it_can_be_decoded(
        start in 0..LEAVES,
        kinds in prop::collection::vec(any::<usize>(), 50..135),
        is_mixed: bool,
    ) {
        let kind = |place: usize| if is_mixed { kinds[place] } else { kinds[0] };
        let value = (0..kinds.len()).fold(leaf(start), |tree, n| wrap(kind(n), tree));
        let deep = encode_deep(&value).unwrap();
        match encode(&value) {
            Ok(encoded) => prop_assert!(decode(&encoded).is_ok_and(|again: Tree| again == value)),
            Err(error) => {
                let error = error.to_string();
                prop_assert!(error.ends_with("nests deeper than 128 levels"), "{}", error);
                prop_assert!(decode::<Tree>(&deep).is_err());
            }
        }
    }
}

#[test]
fn a_value_may_have_as_many_levels_as_it_says_whatever_is_in_the_innermost() {
    for kind in 0..LEAVES {
        let levels = usize::from(kind > 0) + usize::from(kind > 8);
        let deepest = (levels..MAX_DEPTH).fold(leaf(kind), |tree, _| Tree::One(Box::new(tree)));
        assert_eq!(decode::<Tree>(&encode(&deepest).unwrap()).unwrap(), deepest, "{kind}");
        let too_deep = Tree::One(Box::new(deepest));
        assert!(encode(&too_deep).is_err(), "{kind}");
        assert!(decode::<Tree>(&encode_deep(&too_deep).unwrap()).is_err(), "{kind}");
    }
}

#[test]
fn what_only_looks_deep_is_encoded() {
    let heads = vec![0x81u8; 3 * MAX_DEPTH];
    let wide = vec![vec![heads.clone(), Vec::new()]; MAX_DEPTH];
    let value = (Bytes::from(heads), wide, BTreeMap::from([("a".repeat(70_000), [1.5; 3])]));
    let encoded = encode(&value).unwrap();
    assert_eq!(decode::<(Bytes, Vec<Vec<Vec<u8>>>, BTreeMap<_, _>)>(&encoded).unwrap(), value);
}

#[test]
fn encoding_inside_an_encoding_does_not_lose_blobs() {
    struct Nested(Bytes);
    impl Serialize for Nested {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            encode(&self.0).map_err(serde::ser::Error::custom)?;
            self.0.serialize(serializer)
        }
    }
    let large = Bytes::from(vec![1; BLOB_MIN_BYTES]);
    let encoded = encode(&(large.clone(), Nested(large))).unwrap();
    assert_eq!(encoded.blobs.len(), 2);
}
