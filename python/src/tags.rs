//! The CBOR tags of Python values that CBOR has no type for (`docs/format-python.md`). Private-use
//! numbers, next to the core's [`BLOB_TAG`](persistent_actor::codec::BLOB_TAG).

/// A `tuple`: an array.
pub(crate) const TUPLE: u64 = 0x5041_0002;
/// A `bytearray`: a byte string or blob.
pub(crate) const BYTEARRAY: u64 = 0x5041_0003;
/// A `numpy.ndarray`: `[descr, shape, order, content]`.
pub(crate) const NDARRAY: u64 = 0x5041_0004;
/// A NumPy scalar: `[descr, content]`.
pub(crate) const NUMPY_SCALAR: u64 = 0x5041_0005;
/// A pickle: a byte string or blob. Only read when the caller allows it.
pub(crate) const PICKLE: u64 = 0x5041_0006;
/// Positive and negative integers of any size (RFC 8949, section 3.4.3).
pub(crate) const BIGNUM: u64 = 2;
/// See [`BIGNUM`].
pub(crate) const NEGATIVE_BIGNUM: u64 = 3;
