//! NumPy arrays and scalars, through NumPy's own Python interface.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString, PyTuple, PyType};

/// The parts of a NumPy object that are saved.
pub(crate) enum Kind<'py> {
    Array {
        /// The dtype as `numpy.lib.format` describes it: a string, or a list for records.
        descr: Bound<'py, PyAny>,
        shape: Bound<'py, PyAny>,
        /// `"C"`, or `"F"` for arrays that are contiguous in Fortran's order only.
        order: Bound<'py, PyAny>,
        /// A flat view of all bytes; a copy if the array is not contiguous.
        content: Bound<'py, PyAny>,
    },
    Scalar {
        descr: Bound<'py, PyAny>,
        content: Bound<'py, PyAny>,
    },
}

/// Takes a NumPy array or scalar apart; `None` for anything else, subclasses of `ndarray`, and
/// dtypes that NumPy cannot describe (Python objects, extension types).
pub(crate) fn kind<'py>(object: &Bound<'py, PyAny>) -> PyResult<Option<Kind<'py>>> {
    let py = object.py();
    let modules = py.import(intern!(py, "sys"))?.getattr(intern!(py, "modules"))?;
    // An object of NumPy's cannot exist before NumPy is imported.
    if !modules.contains("numpy")? {
        return Ok(None);
    }
    let numpy = py.import(intern!(py, "numpy"))?;
    let array_type = numpy.getattr(intern!(py, "ndarray"))?.cast_into::<PyType>()?;
    if object.get_type().is(&array_type) {
        return take_array(&numpy, object);
    }
    if !object.is_instance(&numpy.getattr(intern!(py, "generic"))?)? {
        return Ok(None);
    }
    let array = numpy.call_method1(intern!(py, "asarray"), (object,))?;
    let Some(descr) = describe(&numpy, &array.getattr(intern!(py, "dtype"))?)? else {
        return Ok(None);
    };
    let content = array.call_method0(intern!(py, "tobytes"))?;
    // Not every subclass of a scalar type is NumPy's own.
    let is_plain = array.call_method1("__getitem__", (PyTuple::empty(py),))?;
    let is_plain = is_plain.get_type().is(object.get_type());
    Ok(is_plain.then_some(Kind::Scalar { descr, content }))
}

fn take_array<'py>(
    numpy: &Bound<'py, PyModule>,
    array: &Bound<'py, PyAny>,
) -> PyResult<Option<Kind<'py>>> {
    let py = array.py();
    let Some(descr) = describe(numpy, &array.getattr(intern!(py, "dtype"))?)? else {
        return Ok(None);
    };
    let flags = array.getattr(intern!(py, "flags"))?;
    let is_c = flags.getattr(intern!(py, "c_contiguous"))?.is_truthy()?;
    let is_f = !is_c && flags.getattr(intern!(py, "f_contiguous"))?.is_truthy()?;
    let contiguous = if is_f {
        array.getattr(intern!(py, "T"))?
    } else if is_c {
        array.clone()
    } else {
        numpy.call_method1(intern!(py, "ascontiguousarray"), (array,))?
    };
    let content = if array.getattr(intern!(py, "nbytes"))?.extract::<usize>()? == 0 {
        pyo3::types::PyBytes::new(py, b"").into_any()
    } else {
        let flat = contiguous.call_method1(intern!(py, "reshape"), (-1,))?;
        flat.call_method1(intern!(py, "view"), (numpy.getattr(intern!(py, "uint8"))?,))?
    };
    let shape = array.getattr(intern!(py, "shape"))?;
    let order = PyString::new(py, if is_f { "F" } else { "C" }).into_any();
    Ok(Some(Kind::Array { descr, shape, order, content }))
}

/// The description of a dtype, if it is complete: NumPy makes an equal dtype from it.
fn describe<'py>(
    numpy: &Bound<'py, PyModule>,
    dtype: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = dtype.py();
    // 1: a type that is built into NumPy, whose name says all.
    if dtype.getattr(intern!(py, "isbuiltin"))?.extract::<i64>()? == 1 {
        let is_object = dtype.getattr(intern!(py, "hasobject"))?.is_truthy()?;
        return match is_object {
            true => Ok(None),
            false => dtype.getattr(intern!(py, "str")).map(Some),
        };
    }
    if dtype.getattr(intern!(py, "hasobject"))?.is_truthy()? {
        return Ok(None);
    }
    let format = format_module(numpy)?;
    let described = format.call_method1("dtype_to_descr", (dtype,)).and_then(|descr| {
        let again = format.call_method1("descr_to_dtype", (&descr,))?;
        Ok(again.eq(dtype)?.then_some(descr))
    });
    Ok(described.unwrap_or(None))
}

fn format_module<'py>(numpy: &Bound<'py, PyModule>) -> PyResult<Bound<'py, PyAny>> {
    let py = numpy.py();
    Ok(py.import(intern!(py, "numpy.lib.format"))?.into_any())
}

/// The dtype of a description. Field lists were tuples; CBOR made lists of the inner ones.
fn dtype<'py>(
    numpy: &Bound<'py, PyModule>,
    descr: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = numpy.py();
    if descr.is_instance_of::<PyString>() {
        return numpy.call_method1(intern!(py, "dtype"), (descr,));
    }
    if !descr.is_instance_of::<PyList>() && !descr.is_instance_of::<PyTuple>() {
        return Err(pyo3::exceptions::PyValueError::new_err("a dtype is a string or a list"));
    }
    format_module(numpy)?.call_method1("descr_to_dtype", (descr,))
}

/// Makes an array that owns its memory and can be written to.
pub(crate) fn make_array<'py>(
    descr: &Bound<'py, PyAny>,
    shape: &Bound<'py, PyAny>,
    order: &Bound<'py, PyAny>,
    content: &[u8],
) -> PyResult<Bound<'py, PyAny>> {
    let py = descr.py();
    let numpy = py.import(intern!(py, "numpy"))?;
    let dtype = dtype(&numpy, descr)?;
    if dtype.getattr(intern!(py, "hasobject"))?.is_truthy()? {
        return Err(pyo3::exceptions::PyValueError::new_err("an array of Python objects"));
    }
    check_size(&dtype, shape, content.len())?;
    let array = numpy.call_method1(intern!(py, "empty"), (shape, dtype, order))?;
    if !content.is_empty() {
        let in_c_order = match order.extract::<String>()?.as_str() {
            "F" => array.getattr(intern!(py, "T"))?,
            _ => array.clone(),
        };
        let flat = in_c_order.call_method1(intern!(py, "reshape"), (-1,))?;
        let flat = flat.call_method1("view", (numpy.getattr(intern!(py, "uint8"))?,))?;
        pyo3::buffer::PyBuffer::<u8>::get(&flat)?.copy_from_slice(py, content)?;
    }
    Ok(array)
}

/// Makes sure, before memory is taken, that the shape and the content belong together.
fn check_size(dtype: &Bound<'_, PyAny>, shape: &Bound<'_, PyAny>, len: usize) -> PyResult<()> {
    let item: usize = dtype.getattr("itemsize")?.extract()?;
    let mut size = Some(item);
    for extent in shape.try_iter()? {
        let extent: usize = extent?.extract()?;
        size = size.and_then(|size| size.checked_mul(extent));
    }
    if size != Some(len) {
        let message = format!("an array of shape {shape} and {item} bytes an item in {len} bytes");
        return Err(pyo3::exceptions::PyValueError::new_err(message));
    }
    Ok(())
}

/// Makes a NumPy scalar.
pub(crate) fn make_scalar<'py>(
    descr: &Bound<'py, PyAny>,
    content: &[u8],
) -> PyResult<Bound<'py, PyAny>> {
    let py = descr.py();
    let shape = PyTuple::empty(py).into_any();
    let order = PyString::new(py, "C").into_any();
    let array = make_array(descr, &shape, &order, content)?;
    array.get_item(PyTuple::empty(py))
}
