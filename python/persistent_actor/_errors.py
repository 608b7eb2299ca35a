"""What can go wrong. The tree mirrors the errors of the Rust core.

Not found, unreadable, damaged and fenced are different things: none of them is ever treated as
"no state yet".
"""


class PersistentActorError(Exception):
    """The base of all errors of this package."""


class OpenError(PersistentActorError):
    """A state could not be opened. Nothing was lost or changed."""


class NotFoundError(OpenError, FileNotFoundError):
    """There is no state at this path, and none was to be made (`require_existing=True`)."""


class UnreadableError(OpenError, OSError):
    """The operating system, or a store's server, refused an operation."""


class DamagedError(OpenError):
    """A file is not what was once written. Its bytes are left as they are."""


class GroupJournalMissingError(OpenError):
    """The last commits of the state lie in a group journal that is not there."""


class NewerVersionError(OpenError):
    """The state was written by a newer version of this package."""


class NotPrivateError(OpenError, PermissionError):
    """Other users could change the state."""


class NotAStateError(OpenError):
    """The file or directory is used for something else."""


class StoreError(PersistentActorError):
    """A commit failed. Whether it took place is known only after the state is opened again."""


class Fenced(StoreError):
    """A newer `ActorState` has taken this state over. What this one did was not saved."""


class StoreIOError(StoreError, OSError):
    """Writing or syncing failed."""


class Poisoned(StoreError):
    """An earlier operation on this `ActorState` failed; it refuses everything since."""


class TooLargeError(StoreError, ValueError):
    """A value is too large to be stored. Nothing was saved; the state goes on."""


class ValueTypeError(PersistentActorError, TypeError):
    """A value is of a type that is not stored natively; see `allow_pickle`."""


class DecodeError(PersistentActorError, ValueError):
    """A stored value cannot be turned into a Python object."""


class CallError(PersistentActorError):
    """A call was refused. Nothing ran."""


class LedgerExpired(CallError):
    """The call was committed, but its reply is not remembered any more."""


class IdReused(CallError):
    """A call with the same id, but another method or other arguments, was committed."""
