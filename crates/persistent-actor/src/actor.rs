//! [`Actor`]: what the `#[actor]` macro says about a type.

use crate::codec::{CodecError, Encoded};

/// A type whose methods can be called by number and whose durable attributes can be saved.
///
/// Written by the `#[actor]` macro; there is rarely a reason to implement it by hand.
pub trait Actor: Sized + 'static {
    /// The type's name in errors, events and traces.
    const NAME: &'static str;

    /// The durable attributes: every name given to a `#[safe_state]`, in order of appearance.
    const ATTRIBUTES: &'static [&'static str];

    /// The methods that can be called.
    const METHODS: &'static [Method<Self>];

    /// Encodes the attribute `ATTRIBUTES[index]`.
    ///
    /// # Errors
    /// If its `Serialize` fails.
    fn save(&self, index: usize) -> Result<Encoded, CodecError>;

    /// Replaces the attribute `ATTRIBUTES[index]` by a saved value.
    ///
    /// # Errors
    /// If the value is not of the attribute's type.
    fn load(&mut self, index: usize, value: &Encoded) -> Result<(), CodecError>;
}

/// One method of an [`Actor`].
pub struct Method<A: 'static> {
    /// The method's name.
    pub name: &'static str,
    /// The attributes that a call commits, as indices into [`Actor::ATTRIBUTES`]; `None` when
    /// the method is not a `#[safe_state]` and leaves no record.
    pub saves: Option<&'static [usize]>,
    /// Decodes the arguments (a tuple), runs the method and encodes what came of it.
    ///
    /// Fails if the arguments cannot be decoded, before the method runs, or the result cannot be
    /// encoded, after.
    pub run: fn(&mut A, &Encoded) -> Result<Outcome, CodecError>,
}

/// What a method did, encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It returned this; for a method that returns a `Result`, the content of its `Ok`.
    Returned(Encoded),
    /// It returned an `Err` with this content.
    Failed(Encoded),
}
