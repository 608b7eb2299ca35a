//! From [`Options`] to an open [`ActorState`].

use std::path::Path;

use crate::codec::Encoded;
use crate::durability::Durability;
use crate::error::OpenError;
use crate::options::Options;
use crate::state::ActorState;
use crate::store::{FileStore, Storage, View};

impl Options {
    /// Opens the state in the directory `path` and becomes its one writer: whoever had it open
    /// before is fenced.
    ///
    /// With [`Durability::None`] the path is not touched and the state starts empty.
    ///
    /// # Errors
    /// See [`OpenError`]. A failed open changes nothing that was committed; but if it has found damage, it
    /// has fenced whoever had the state open before.
    pub fn open(self, path: impl AsRef<Path>) -> Result<ActorState, OpenError> {
        self.open_with(path, || Ok(Vec::new()))
    }

    /// The same; a state that is made now begins with these attributes, as if its first commit had
    /// set them, but without a sync of its own for that. It may leave them out, as it does when
    /// they are large or the state is there already: whoever needs them looks, and commits them.
    ///
    /// # Errors
    /// As for [`Options::open`], and what `initial` says.
    pub(crate) fn open_with(
        self,
        path: impl AsRef<Path>,
        initial: impl FnOnce() -> Result<Vec<(String, Encoded)>, OpenError>,
    ) -> Result<ActorState, OpenError> {
        if self.durability == Durability::None {
            return ActorState::new(View::default(), None, self);
        }
        if let Some(url) = path.as_ref().to_str().filter(|path| is_url(path)) {
            return self.open_url(url);
        }
        let (store, view) = FileStore::open_with(path.as_ref(), &self, initial)?;
        ActorState::new(view, Some(Box::new(store)), self)
    }

    #[cfg(feature = "redis")]
    fn open_url(self, url: &str) -> Result<ActorState, OpenError> {
        let (store, view) = crate::store::RedisStore::open(url, &self)?;
        ActorState::new(view, Some(Box::new(store)), self)
    }

    #[cfg(not(feature = "redis"))]
    fn open_url(self, _url: &str) -> Result<ActorState, OpenError> {
        let missing = "this program was built without the feature `redis` of persistent-actor";
        Err(OpenError::Unreadable {
            operation: "use",
            // The URL may hold a password.
            path: "the Redis URL".into(),
            source: std::io::Error::new(std::io::ErrorKind::Unsupported, missing),
        })
    }

    /// Opens the state in `storage`, which errors call `path`. For tests that put faults there.
    ///
    /// # Errors
    /// As for [`Options::open`].
    #[doc(hidden)]
    pub fn open_on(
        self,
        storage: Box<dyn Storage>,
        path: impl AsRef<Path>,
    ) -> Result<ActorState, OpenError> {
        let (store, view) = FileStore::open_on(storage, path.as_ref(), &self)?;
        ActorState::new(view, Some(Box::new(store)), self)
    }
}

/// Whether a path is the URL of a state in a server.
fn is_url(path: &str) -> bool {
    path.starts_with("redis://") || path.starts_with("rediss://")
}
