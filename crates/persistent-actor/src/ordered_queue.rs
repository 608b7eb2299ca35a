//! [`OrderedQueue`]: a map for keys that mostly come in order and leave in order.

use std::collections::VecDeque;

/// How many entries there is room for in any case.
const KEPT: usize = 16;

/// A map in a queue that is sorted by its keys.
///
/// An actor's ledger mostly holds one call, and each call takes the place of the one before. A
/// `BTreeMap` makes and frees a node with room for eleven of them each time; this does neither.
/// What comes or leaves in the middle moves the entries on one side of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OrderedQueue<K, V>(VecDeque<(K, V)>);

impl<K, V> Default for OrderedQueue<K, V> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<K: Ord + Copy, V> OrderedQueue<K, V> {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn first(&self) -> Option<&(K, V)> {
        self.0.front()
    }

    pub(crate) fn last(&self) -> Option<&(K, V)> {
        self.0.back()
    }

    pub(crate) fn get(&self, key: K) -> Option<&V> {
        let index = self.find(key).ok()?;
        Some(&self.0[index].1)
    }

    /// Adds an entry; gives the one with this key whose place it takes.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.find(key) {
            Ok(index) => Some(std::mem::replace(&mut self.0[index].1, value)),
            Err(index) if index == self.0.len() => {
                self.0.push_back((key, value));
                None
            }
            Err(index) => {
                self.0.insert(index, (key, value));
                None
            }
        }
    }

    pub(crate) fn remove(&mut self, key: K) -> Option<V> {
        let index = self.find(key).ok()?;
        let (_, value) = self.0.remove(index)?;
        self.give_room_back();
        Some(value)
    }

    pub(crate) fn pop_first(&mut self) -> Option<(K, V)> {
        let first = self.0.pop_front();
        self.give_room_back();
        first
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (K, &V)> {
        self.0.iter().map(|(key, value)| (*key, value))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (K, &mut V)> {
        self.0.iter_mut().map(|(key, value)| (*key, value))
    }

    /// Where the key is, or would be.
    fn find(&self, key: K) -> Result<usize, usize> {
        match self.0.back() {
            // The most frequent of all cases.
            Some((last, _)) if *last < key => Err(self.0.len()),
            None => Err(0),
            Some(_) => self.0.binary_search_by_key(&key, |(key, _)| *key),
        }
    }

    fn give_room_back(&mut self) {
        if self.0.is_empty() {
            // The next one comes to where this one was, which is in the cache.
            self.0.clear();
        }
        let capacity = self.0.capacity();
        if capacity > KEPT && self.0.len() < capacity / 4 {
            self.0.shrink_to(KEPT.max(capacity / 2));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Insert(u8),
        Remove(u8),
        PopFirst,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => any::<u8>().prop_map(Step::Insert),
            1 => any::<u8>().prop_map(Step::Remove),
            1 => Just(Step::PopFirst),
        ]
    }

    proptest! {
        #[test]
        fn it_holds_what_a_map_holds_in_the_same_order(steps in vec(step(), 0..400)) {
            let (mut queue, mut map) = (OrderedQueue::default(), BTreeMap::new());
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Insert(key) => {
                        prop_assert_eq!(queue.insert(key, number), map.insert(key, number));
                    }
                    Step::Remove(key) => prop_assert_eq!(queue.remove(key), map.remove(&key)),
                    Step::PopFirst => prop_assert_eq!(queue.pop_first(), map.pop_first()),
                }
                prop_assert!(queue.iter().eq(map.iter().map(|(key, value)| (*key, value))));
                prop_assert_eq!(queue.get(7), map.get(&7));
                prop_assert_eq!(queue.first().map(|(key, _)| key), map.keys().next());
                prop_assert_eq!(queue.last().map(|(key, _)| key), map.keys().next_back());
            }
        }
    }

    #[test]
    fn the_room_of_many_entries_is_given_back_with_them() {
        let mut queue = OrderedQueue::default();
        for key in 0..10_000 {
            queue.insert(key, ());
        }
        for _ in 0..9_990 {
            queue.pop_first();
        }
        assert_eq!(queue.len(), 10);
        assert!(queue.0.capacity() < 64, "room for {}", queue.0.capacity());
    }
}
