//! Placeholder.
use crate::{error::*, state::Options, store::*};
/// The file store.
pub struct FileStore;
impl FileStore {
    pub(crate) fn open(_p: &std::path::Path, _o: &Options) -> Result<(Self, View), OpenError> {
        Ok((Self, View::default()))
    }
}
impl Store for FileStore {
    fn epoch(&self) -> u64 {
        1
    }
    fn commit(&mut self, _: &Record, _: &View) -> Result<(), StoreError> {
        Ok(())
    }
    fn maintain(&mut self, _: &View) -> Result<(), StoreError> {
        Ok(())
    }
}
