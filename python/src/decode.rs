//! [`Encoded`] values to fresh Python objects. Runs no code that comes from the value, unless
//! pickles are allowed.

use ciborium_ll::{Decoder as Pull, Header, simple};
use persistent_actor::codec::{BLOB_TAG, Encoded, MAX_DEPTH};
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyInt, PyList, PyString, PyTuple};

use crate::errors::error;
use crate::{numpy, tags};

/// Makes a new object from a value.
pub(crate) fn decode<'py>(
    py: Python<'py>,
    encoded: &Encoded,
    allow_pickle: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let mut decoder = Decoder { py, encoded, allow_pickle, rest: &encoded.inline, depth: 0 };
    let object = decoder.object()?;
    match decoder.rest.len() {
        0 => Ok(object),
        left => Err(decoder.wrong(format!("{left} bytes are left over behind a value"))),
    }
}

struct Decoder<'a, 'py> {
    py: Python<'py>,
    encoded: &'a Encoded,
    allow_pickle: bool,
    rest: &'a [u8],
    depth: usize,
}

impl<'a, 'py> Decoder<'a, 'py> {
    fn object(&mut self) -> PyResult<Bound<'py, PyAny>> {
        let header = self.pull()?;
        self.object_of(header)
    }

    fn object_of(&mut self, header: Header) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        match header {
            Header::Positive(value) => value.into_bound_py_any(py),
            // A negative integer n is stored as -1 - n.
            Header::Negative(value) => (-1 - i128::from(value)).into_bound_py_any(py),
            Header::Float(value) => value.into_bound_py_any(py),
            Header::Simple(simple::NULL | simple::UNDEFINED) => Ok(py.None().into_bound(py)),
            Header::Simple(simple::TRUE) => true.into_bound_py_any(py),
            Header::Simple(simple::FALSE) => false.into_bound_py_any(py),
            Header::Text(Some(len)) => Ok(self.text(len)?.into_any()),
            Header::Bytes(Some(len)) => Ok(PyBytes::new(py, self.take(len)?).into_any()),
            Header::Array(len) => self.nested(|decoder| {
                let list = PyList::empty(py);
                decoder.each(len, |decoder, header| list.append(decoder.object_of(header)?))?;
                Ok(list.into_any())
            }),
            Header::Map(len) => self.nested(|decoder| {
                let dict = PyDict::new(py);
                decoder.each(len, |decoder, header| {
                    let key = decoder.object_of(header)?;
                    dict.set_item(key, decoder.object()?)
                })?;
                Ok(dict.into_any())
            }),
            Header::Tag(tag) => self.nested(|decoder| decoder.tagged(tag)),
            other => Err(self.wrong(format!("an item of an unknown kind: {other:?}"))),
        }
    }

    fn tagged(&mut self, tag: u64) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        match tag {
            BLOB_TAG => Ok(PyBytes::new(py, self.blob()?).into_any()),
            tags::BYTEARRAY => Ok(PyByteArray::new(py, self.bytes()?).into_any()),
            tags::TUPLE => self.tuple(),
            tags::BIGNUM | tags::NEGATIVE_BIGNUM => {
                let bytes = PyBytes::new(py, self.bytes()?);
                let magnitude =
                    py.get_type::<PyInt>().call_method1("from_bytes", (bytes, "big"))?;
                match tag {
                    tags::BIGNUM => Ok(magnitude),
                    _ => magnitude.call_method0("__invert__"),
                }
            }
            tags::NDARRAY => self.ndarray(),
            tags::NUMPY_SCALAR => {
                self.array_of(2)?;
                let (descr, content) = (self.object()?, self.bytes()?);
                self.checked(numpy::make_scalar(&descr, content))
            }
            tags::PICKLE if self.allow_pickle => {
                let bytes = PyBytes::new(py, self.bytes()?);
                py.import("pickle")?.call_method1("loads", (bytes,))
            }
            tags::PICKLE => Err(self.wrong(
                "the value is a pickle, which runs code when it is loaded; if you trust whoever \
                 could write this state, open it with allow_pickle=True",
            )),
            other => Err(self.wrong(format!("a value with the unknown CBOR tag {other}"))),
        }
    }

    fn ndarray(&mut self) -> PyResult<Bound<'py, PyAny>> {
        self.array_of(4)?;
        let (descr, shape, order, content) =
            (self.object()?, self.tuple()?, self.object()?, self.bytes()?);
        let is_order = order.extract::<&str>().is_ok_and(|order| order == "C" || order == "F");
        if !is_order {
            return Err(self.wrong(format!("an array of the unknown order {order}")));
        }
        self.checked(numpy::make_array(&descr, &shape, &order, content))
    }

    /// NumPy's own errors about a value that does not fit together are ours about the value.
    fn checked(&self, made: PyResult<Bound<'py, PyAny>>) -> PyResult<Bound<'py, PyAny>> {
        made.map_err(|cause| {
            match cause.is_instance_of::<pyo3::exceptions::PyImportError>(self.py) {
                true => cause,
                false => self.wrong(format!("not a NumPy value: {}", cause.value(self.py))),
            }
        })
    }

    fn tuple(&mut self) -> PyResult<Bound<'py, PyAny>> {
        let Header::Array(len) = self.pull()? else {
            return Err(self.wrong("a tuple that is not an array"));
        };
        let mut items = Vec::new();
        self.each(len, |decoder, header| {
            items.push(decoder.object_of(header)?);
            Ok(())
        })?;
        Ok(PyTuple::new(self.py, items)?.into_any())
    }

    fn array_of(&mut self, items: usize) -> PyResult<()> {
        match self.pull()? {
            Header::Array(Some(len)) if len == items => Ok(()),
            _ => Err(self.wrong(format!("expected an array of {items} items"))),
        }
    }

    /// Calls `item` for every item of an array, or entry of a map, of `len`; `None`: up to a
    /// break.
    fn each(
        &mut self,
        len: Option<usize>,
        mut item: impl FnMut(&mut Self, Header) -> PyResult<()>,
    ) -> PyResult<()> {
        let mut done = 0;
        while len != Some(done) {
            match self.pull()? {
                Header::Break if len.is_none() => return Ok(()),
                header => item(self, header)?,
            }
            done += 1;
        }
        Ok(())
    }

    /// A byte string, or a blob.
    fn bytes(&mut self) -> PyResult<&'a [u8]> {
        match self.pull()? {
            Header::Bytes(Some(len)) => self.take(len),
            Header::Tag(BLOB_TAG) => self.blob(),
            _ => Err(self.wrong("expected bytes")),
        }
    }

    fn blob(&mut self) -> PyResult<&'a [u8]> {
        let Header::Positive(index) = self.pull()? else {
            return Err(self.wrong("a blob is named by its index"));
        };
        let blob = usize::try_from(index).ok().and_then(|index| self.encoded.blobs.get(index));
        blob.map(|blob| &**blob).ok_or_else(|| self.wrong(format!("the value has no blob {index}")))
    }

    fn text(&mut self, len: usize) -> PyResult<Bound<'py, PyString>> {
        let text = self.take(len)?;
        let text = std::str::from_utf8(text).map_err(|cause| self.wrong(cause.to_string()))?;
        Ok(PyString::new(self.py, text))
    }

    fn take(&mut self, len: usize) -> PyResult<&'a [u8]> {
        let Some((taken, rest)) = self.rest.split_at_checked(len) else {
            let left = self.rest.len();
            return Err(self.wrong(format!("{len} bytes announced, {left} are left")));
        };
        self.rest = rest;
        Ok(taken)
    }

    fn pull(&mut self) -> PyResult<Header> {
        let mut pull = Pull::from(self.rest);
        let header = pull.pull().map_err(|cause| self.wrong(format!("not CBOR: {cause:?}")))?;
        let used = pull.offset();
        self.take(used)?;
        Ok(header)
    }

    fn nested<T>(&mut self, work: impl FnOnce(&mut Self) -> PyResult<T>) -> PyResult<T> {
        if self.depth == MAX_DEPTH {
            return Err(self.wrong(format!("it nests deeper than {MAX_DEPTH} levels")));
        }
        self.depth += 1;
        let made = work(self)?;
        self.depth -= 1;
        Ok(made)
    }

    fn wrong(&self, message: impl Into<String>) -> PyErr {
        error(self.py, "DecodeError", message)
    }
}
