//! Every wrong use of the macros has its own message, at the right place.
//!
//! After a change of a message: `TRYBUILD=overwrite cargo test -p persistent-actor-runtime
//! --test macros_ui`, and read the difference.

#[test]
fn every_wrong_use_of_the_macros_says_what_to_do_instead() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*.rs");
}
