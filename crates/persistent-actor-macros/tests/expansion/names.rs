//! The expansion means the same whatever the user has in scope.

#![expect(dead_code, reason = "names that must not be picked up")]

use crate::__private::Handle as GenericHandle;
use crate::block_on;

struct Result;
struct Option;
struct Some;
struct Ok;
struct Err;
struct Actor;
struct Handle;
mod core {}
mod std {}
mod serde {}

macro_rules! declare {
    ($name:ident, $field:ident, $method:ident, $arg:ident, $ty:ty, $attribute:literal) => {
        #[derive(::serde::Serialize, ::serde::Deserialize)]
        struct $name {
            $field: $ty,
        }

        #[persistent_actor_macros::actor]
        impl $name {
            #[persistent_actor_macros::safe_state($attribute)]
            fn $method(&mut self, $arg: $ty) -> $ty {
                self.$field += $arg;
                self.$field
            }
        }
    };
}

declare!(Counter, counter, increment, by, u64, "counter");

#[test]
fn other_meanings_of_the_names_it_uses_do_not_matter() {
    let counter = CounterHandle::from(GenericHandle::new(Counter { counter: 2 }));
    assert_eq!(block_on(counter.increment(3)), ::std::result::Result::Ok(5));
}
