//! Python objects to [`Encoded`] values (`docs/format-python.md`).

use std::collections::HashMap;

use persistent_actor::Bytes;
use persistent_actor::codec::{BLOB_MIN_BYTES, BLOB_TAG, Encoded, MAX_DEPTH};
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyByteArray, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple,
};

use crate::errors::error;
use crate::numpy::{self, Kind};
use crate::tags;

const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const TAG: u8 = 6;

/// How much of each end of a large buffer goes into a digest, as in the core. Bytes.
const DIGEST_EDGE_BYTES: usize = 4096;

/// What is done with objects of types that have no encoding.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Others {
    /// A `ValueTypeError`.
    Refuse,
    /// They are pickled.
    Pickle,
    /// Only their type's name is kept, and of large buffers only the ends: for digests.
    Digest,
}

/// The large buffers met in one commit: an array that is both an attribute and the reply is
/// stored once. Keeps hold of what it has seen, so that an address means one buffer: a `bytearray`
/// that lives could still move away and leave its memory to another.
#[derive(Default)]
pub(crate) struct Shared {
    buffers: HashMap<(usize, usize), (Bytes, PyBuffer<u8>)>,
}

/// Encodes `object`. Buffers that are equal to those of `old`, the value that it replaces, become
/// the same [`Bytes`], so that the store sees at once that nothing changed.
pub(crate) fn encode(
    object: &Bound<'_, PyAny>,
    others: Others,
    old: Option<&Encoded>,
    shared: &mut Shared,
) -> PyResult<Encoded> {
    let mut encoder = Encoder { out: Encoded::default(), depth: 0, others, old, shared };
    encoder.put(object)?;
    Ok(encoder.out)
}

struct Encoder<'a> {
    out: Encoded,
    depth: usize,
    others: Others,
    old: Option<&'a Encoded>,
    shared: &'a mut Shared,
}

impl Encoder<'_> {
    fn put(&mut self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        if object.is_none() {
            self.out.inline.push(0xF6);
        } else if let Ok(value) = object.cast_exact::<PyBool>() {
            self.out.inline.push(if value.is_true() { 0xF5 } else { 0xF4 });
        } else if object.is_exact_instance_of::<PyInt>() {
            self.put_int(object)?;
        } else if let Ok(value) = object.cast_exact::<PyFloat>() {
            self.out.inline.push(0xFB);
            self.out.inline.extend_from_slice(&value.value().to_be_bytes());
        } else if let Ok(value) = object.cast_exact::<PyString>() {
            self.put_text(value)?;
        } else if let Ok(value) = object.cast_exact::<PyBytes>() {
            self.put_buffer(value.as_any())?;
        } else if let Ok(value) = object.cast_exact::<PyByteArray>() {
            self.tagged(tags::BYTEARRAY, |encoder| encoder.put_buffer(value.as_any()))?;
        } else {
            self.put_container(object)?;
        }
        Ok(())
    }

    fn put_container(&mut self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        if let Ok(list) = object.cast_exact::<PyList>() {
            self.nested(|encoder| encoder.put_list(list))
        } else if let Ok(tuple) = object.cast_exact::<PyTuple>() {
            self.tagged(tags::TUPLE, |encoder| encoder.put_tuple(tuple))
        } else if let Ok(dict) = object.cast_exact::<PyDict>() {
            self.nested(|encoder| encoder.put_dict(dict))
        } else {
            match numpy::kind(object)? {
                Some(Kind::Array { descr, shape, order, content }) => {
                    self.tagged(tags::NDARRAY, |encoder| {
                        encoder.head(ARRAY, 4);
                        encoder.put(&descr)?;
                        encoder.put_plain(&shape)?;
                        encoder.put(&order)?;
                        encoder.put_buffer(&content)
                    })
                }
                Some(Kind::Scalar { descr, content }) => {
                    self.tagged(tags::NUMPY_SCALAR, |encoder| {
                        encoder.head(ARRAY, 2);
                        encoder.put(&descr)?;
                        encoder.put_buffer(&content)
                    })
                }
                None => self.put_other(object),
            }
        }
    }

    fn put_list(&mut self, list: &Bound<'_, PyList>) -> PyResult<()> {
        let announced = list.len();
        self.head(ARRAY, announced as u64);
        let mut written = 0;
        for item in list.iter() {
            self.put(&item)?;
            written += 1;
        }
        check_unchanged("list", written == announced && list.len() == announced)
    }

    fn put_dict(&mut self, dict: &Bound<'_, PyDict>) -> PyResult<()> {
        // A copy: to go on with a dictionary that has changed is a panic.
        let items = dict.items();
        let announced = items.len();
        self.head(MAP, announced as u64);
        let mut written = 0;
        for item in items.iter() {
            let (key, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item.extract()?;
            self.put(&key)?;
            self.put(&value)?;
            written += 1;
        }
        check_unchanged("dict", written == announced && dict.len() == announced)
    }

    fn put_tuple(&mut self, tuple: &Bound<'_, PyTuple>) -> PyResult<()> {
        self.head(ARRAY, tuple.len() as u64);
        tuple.iter().try_for_each(|item| self.put(&item))
    }

    /// A tuple whose type goes without saying.
    fn put_plain(&mut self, tuple: &Bound<'_, PyAny>) -> PyResult<()> {
        self.nested(|encoder| encoder.put_tuple(tuple.cast::<PyTuple>()?))
    }

    fn put_int(&mut self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        if let Ok(small) = object.extract::<i64>() {
            let major = u8::from(small < 0);
            self.head(major, if small < 0 { !small } else { small } as u64);
            return Ok(());
        }
        let is_negative = object.lt(0)?;
        // CBOR stores a negative integer n as -1 - n, which is what Python's ~ gives.
        let magnitude =
            if is_negative { object.call_method0("__invert__")? } else { object.clone() };
        if let Ok(magnitude) = magnitude.extract::<u64>() {
            self.head(u8::from(is_negative), magnitude);
            return Ok(());
        }
        let bits: usize = magnitude.call_method0("bit_length")?.extract()?;
        let bytes = magnitude.call_method1("to_bytes", (bits.div_ceil(8), "big"))?;
        self.head(TAG, if is_negative { tags::NEGATIVE_BIGNUM } else { tags::BIGNUM });
        self.put_buffer(&bytes)
    }

    fn put_text(&mut self, text: &Bound<'_, PyString>) -> PyResult<()> {
        let text = text.to_str()?;
        self.head(TEXT, text.len() as u64);
        self.out.inline.extend_from_slice(text.as_bytes());
        Ok(())
    }

    /// A contiguous buffer of bytes: inline when it is small, else beside the CBOR.
    fn put_buffer(&mut self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        let buffer = PyBuffer::<u8>::get(object)?;
        let content: &[u8] = match buffer.len_bytes() {
            0 => &[],
            // SAFETY: the exporter keeps `len_bytes` contiguous bytes at `buf_ptr` valid while
            // `buffer` lives: it is only asked for `bytes`, `bytearray` and flat views of
            // contiguous arrays. The GIL is held until the slice is gone, so no Python code
            // writes to it; a program whose extensions write to an array that is being saved
            // has that race with every reader of the array.
            len => unsafe { std::slice::from_raw_parts(buffer.buf_ptr().cast::<u8>(), len) },
        };
        if content.len() < BLOB_MIN_BYTES {
            self.head(BYTES, content.len() as u64);
            self.out.inline.extend_from_slice(content);
        } else if self.others == Others::Digest {
            self.head(BYTES, content.len() as u64);
            self.out.inline.extend_from_slice(&content[..DIGEST_EDGE_BYTES]);
            self.out.inline.extend_from_slice(&content[content.len() - DIGEST_EDGE_BYTES..]);
        } else {
            let key = (content.as_ptr().addr(), content.len());
            let old = self.old.and_then(|old| old.blobs.get(self.out.blobs.len()));
            let make = || match old {
                Some(old) if **old == *content => old.clone(),
                _ => Bytes::from(content),
            };
            let entry = self.shared.buffers.entry(key);
            let (blob, _) = entry.or_insert_with(|| (make(), buffer));
            self.out.blobs.push(blob.clone());
            self.head(TAG, BLOB_TAG);
            self.head(0, self.out.blobs.len() as u64 - 1);
        }
        Ok(())
    }

    fn put_other(&mut self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        let name = object.get_type().fully_qualified_name()?;
        match self.others {
            Others::Digest => self.put_text(&name),
            Others::Pickle => {
                let pickled = object.py().import("pickle")?.call_method1("dumps", (object, 5))?;
                self.tagged(tags::PICKLE, |encoder| encoder.put_buffer(&pickled))
            }
            Others::Refuse => {
                let message = format!(
                    "a value of type {name} cannot be saved: expected None, bool, int, float, \
                     str, bytes, bytearray, list, tuple, dict or a NumPy array or scalar without \
                     Python objects in it, or ActorState(..., allow_pickle=True)"
                );
                Err(error(object.py(), "ValueTypeError", message))
            }
        }
    }

    fn head(&mut self, major: u8, number: u64) {
        let (major, out) = (major << 5, &mut self.out.inline);
        match number {
            0..24 => out.push(major | number as u8),
            24..0x100 => out.extend_from_slice(&[major | 24, number as u8]),
            0x100..0x1_0000 => {
                out.push(major | 25);
                out.extend_from_slice(&(number as u16).to_be_bytes());
            }
            0x1_0000..0x1_0000_0000 => {
                out.push(major | 26);
                out.extend_from_slice(&(number as u32).to_be_bytes());
            }
            _ => {
                out.push(major | 27);
                out.extend_from_slice(&number.to_be_bytes());
            }
        }
    }

    fn tagged(
        &mut self,
        tag: u64,
        content: impl FnOnce(&mut Self) -> PyResult<()>,
    ) -> PyResult<()> {
        self.head(TAG, tag);
        self.nested(content)
    }

    /// One level deeper. A decoder goes down [`MAX_DEPTH`] levels; a tag with an array in it is
    /// two, and blobs need one more.
    fn nested(&mut self, content: impl FnOnce(&mut Self) -> PyResult<()>) -> PyResult<()> {
        const LEVELS: usize = (MAX_DEPTH - 8) / 2;
        if self.depth == LEVELS {
            let message = format!("a value that nests deeper than {LEVELS} levels cannot be saved");
            return Python::attach(|py| Err(error(py, "ValueTypeError", message)));
        }
        self.depth += 1;
        content(self)?;
        self.depth -= 1;
        Ok(())
    }
}

/// Python code may run between two items of a container: a pickled object's own, finalizers, other
/// threads. What was announced must be what was written, or nobody can read the value.
fn check_unchanged(container: &str, is_unchanged: bool) -> PyResult<()> {
    if is_unchanged {
        return Ok(());
    }
    Err(PyRuntimeError::new_err(format!("a {container} changed while it was saved")))
}
