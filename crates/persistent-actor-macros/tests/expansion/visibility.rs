//! Neither the visibility of the type nor that of its methods restricts the other's.

use persistent_actor_macros::actor;
use serde::{Deserialize, Serialize};

use crate::__private::Handle;
use crate::block_on;

#[derive(Serialize, Deserialize)]
struct Private(u8);

#[actor]
#[expect(unreachable_pub, reason = "as many write it")]
impl Private {
    pub fn get(&self) -> u8 {
        self.0
    }
}

/// Two modules deep, with every visibility.
pub mod outer {
    /// The inner one.
    pub mod inner {
        use persistent_actor_macros::{actor, safe_state};
        use serde::{Deserialize, Serialize};

        /// Public; its methods are not.
        #[derive(Serialize, Deserialize)]
        pub struct Public(pub(crate) u8);

        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        pub(super) struct Secret(pub(super) u8);

        #[actor]
        impl Public {
            fn hidden(&self) -> u8 {
                self.0
            }

            pub(super) fn known_outside(&self) -> Secret {
                Secret(self.0)
            }

            #[safe_state("0")]
            pub(in crate::visibility) fn set(&mut self, value: u8) -> Self {
                self.0 = value;
                Self(value)
            }
        }

        /// Has no methods at all.
        #[derive(Serialize, Deserialize)]
        pub(crate) enum Idle {
            /// Its only value.
            Only,
        }

        #[actor]
        impl Idle {}

        #[test]
        fn a_private_method_is_private_to_its_module() {
            let public = PublicHandle::from(crate::__private::Handle::new(Public(3)));
            assert_eq!(crate::block_on(public.hidden()), Ok(3));
            let idle = IdleHandle::from(crate::__private::Handle::new(Idle::Only));
            assert_eq!(format!("{idle:?}"), "IdleHandle(Handle<Idle>)");
        }
    }

    #[test]
    fn a_restricted_method_is_seen_where_it_says() {
        let handle = crate::__private::Handle::new(inner::Public(3));
        let public = inner::PublicHandle::from(handle);
        assert_eq!(crate::block_on(public.known_outside()), Ok(inner::Secret(3)));
    }
}

#[test]
fn a_private_type_may_have_public_methods() {
    assert_eq!(block_on(PrivateHandle::from(Handle::new(Private(1))).get()), Ok(1));
}

#[test]
fn the_handle_is_as_visible_as_its_most_visible_method() {
    let public = outer::inner::PublicHandle::from(Handle::new(outer::inner::Public(3)));
    assert_eq!(block_on(public.set(8)).unwrap().0, 8);
}

#[test]
fn an_actor_may_be_declared_inside_a_function() {
    #[derive(Serialize, Deserialize)]
    struct Local(u8);

    #[actor]
    impl Local {
        fn get(&self) -> u8 {
            self.0
        }
    }

    assert_eq!(block_on(LocalHandle::from(Handle::new(Local(4))).get()), Ok(4));
}
