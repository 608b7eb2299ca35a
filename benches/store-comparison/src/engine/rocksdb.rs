//! RocksDB, through the C interface of an installed library (`rocksdb/c.h`).

use std::ffi::{CStr, CString, c_char, c_int, c_uchar};
use std::os::unix::ffi::OsStrExt;
use std::ptr::{NonNull, null_mut};

use anyhow::{Context, Result, bail};

use super::{KeyValue, Setup};

/// Opaque to callers; a pointer to it is all that the interface gives.
#[repr(C)]
struct Opaque {
    _private: [u8; 0],
}

#[link(name = "rocksdb")]
unsafe extern "C" {
    fn rocksdb_options_create() -> *mut Opaque;
    fn rocksdb_options_destroy(options: *mut Opaque);
    fn rocksdb_options_set_create_if_missing(options: *mut Opaque, yes: c_uchar);
    fn rocksdb_options_set_compression(options: *mut Opaque, kind: c_int);
    fn rocksdb_open(
        options: *const Opaque,
        path: *const c_char,
        error: *mut *mut c_char,
    ) -> *mut Opaque;
    fn rocksdb_close(database: *mut Opaque);
    fn rocksdb_writeoptions_create() -> *mut Opaque;
    fn rocksdb_writeoptions_destroy(options: *mut Opaque);
    fn rocksdb_writeoptions_set_sync(options: *mut Opaque, yes: c_uchar);
    fn rocksdb_readoptions_create() -> *mut Opaque;
    fn rocksdb_readoptions_destroy(options: *mut Opaque);
    fn rocksdb_writebatch_create() -> *mut Opaque;
    fn rocksdb_writebatch_destroy(batch: *mut Opaque);
    fn rocksdb_writebatch_clear(batch: *mut Opaque);
    fn rocksdb_writebatch_put(
        batch: *mut Opaque,
        key: *const c_char,
        key_len: usize,
        value: *const c_char,
        value_len: usize,
    );
    fn rocksdb_write(
        database: *mut Opaque,
        options: *const Opaque,
        batch: *mut Opaque,
        error: *mut *mut c_char,
    );
    fn rocksdb_get(
        database: *mut Opaque,
        options: *const Opaque,
        key: *const c_char,
        key_len: usize,
        value_len: *mut usize,
        error: *mut *mut c_char,
    ) -> *mut c_char;
    fn rocksdb_free(memory: *mut std::ffi::c_void);
}

/// A RocksDB database without compression, else at its default settings.
pub(crate) struct RocksDb {
    database: NonNull<Opaque>,
    write_options: *mut Opaque,
    read_options: *mut Opaque,
    batch: *mut Opaque,
}

// SAFETY: RocksDB's objects are not tied to a thread, and `&mut self` keeps the batch, the only
// one that is not safe to share, with one thread at a time.
unsafe impl Send for RocksDb {}

impl RocksDb {
    pub(crate) fn open(setup: &Setup<'_>, synced: bool) -> Result<Self> {
        let path = CString::new(setup.dir.as_os_str().as_bytes()).context("a path with a zero")?;
        let mut error = null_mut();
        // SAFETY: the path is a C string that outlives the call, `error` a place for a pointer;
        // the options are destroyed once, after their last use. No compression is 0 in `c.h`.
        let database = unsafe {
            let options = rocksdb_options_create();
            rocksdb_options_set_create_if_missing(options, 1);
            rocksdb_options_set_compression(options, 0);
            let database = rocksdb_open(options, path.as_ptr(), &raw mut error);
            rocksdb_options_destroy(options);
            database
        };
        check(error)?;
        let database = NonNull::new(database).context("RocksDB opened nothing")?;
        // SAFETY: constructors without arguments; the setter gets what one of them just made.
        unsafe {
            let write_options = rocksdb_writeoptions_create();
            rocksdb_writeoptions_set_sync(write_options, c_uchar::from(synced));
            let read_options = rocksdb_readoptions_create();
            let batch = rocksdb_writebatch_create();
            Ok(Self { database, write_options, read_options, batch })
        }
    }
}

impl Drop for RocksDb {
    fn drop(&mut self) {
        // SAFETY: each was made by its constructor in `open` and is destroyed here alone.
        unsafe {
            rocksdb_writebatch_destroy(self.batch);
            rocksdb_readoptions_destroy(self.read_options);
            rocksdb_writeoptions_destroy(self.write_options);
            rocksdb_close(self.database.as_ptr());
        }
    }
}

/// Turns an error message that RocksDB allocated into an error.
fn check(error: *mut c_char) -> Result<()> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: RocksDB writes a C string or leaves the null that was there; the message is copied
    // before it is freed, once.
    let message = unsafe {
        let message = CStr::from_ptr(error).to_string_lossy().into_owned();
        rocksdb_free(error.cast());
        message
    };
    bail!("RocksDB: {message}")
}

impl KeyValue for RocksDb {
    fn put_all(&mut self, entries: &[(u32, &[u8])]) -> Result<()> {
        let mut error = null_mut();
        // SAFETY: all objects are alive; RocksDB copies keys and values into the batch before
        // each call returns.
        unsafe {
            rocksdb_writebatch_clear(self.batch);
            for (key, value) in entries {
                let key = key.to_be_bytes();
                let (start, len) = (value.as_ptr().cast(), value.len());
                rocksdb_writebatch_put(self.batch, key.as_ptr().cast(), key.len(), start, len);
            }
            let database = self.database.as_ptr();
            rocksdb_write(database, self.write_options, self.batch, &raw mut error);
        }
        check(error)
    }

    fn get(&mut self, key: u32, read: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let key = key.to_be_bytes();
        let (mut error, mut len) = (null_mut(), 0);
        // SAFETY: the key outlives the call; `len` and `error` are places for the results.
        let value = unsafe {
            let database = self.database.as_ptr();
            let start = key.as_ptr().cast();
            let length = &raw mut len;
            rocksdb_get(database, self.read_options, start, key.len(), length, &raw mut error)
        };
        check(error)?;
        if value.is_null() {
            return Ok(false);
        }
        // SAFETY: RocksDB gave `len` bytes that are ours until they are freed, once, below.
        unsafe {
            read(std::slice::from_raw_parts(value.cast(), len));
            rocksdb_free(value.cast());
        }
        Ok(true)
    }
}
