"""`ActorState`: one actor's durable attributes and its ledger of committed calls."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import threading
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple, NoReturn

from . import _call_id, _place, _ray
from ._call_id import CallId, as_call_id
from ._errors import NotFoundError, OpenError
from ._native import Snapshot, State

SAVES: Final = "_safe_state_saves"
"""Under this name a safe-state method carries the names of its attributes."""


def _without_password(path: str) -> str:
    scheme, separator, rest = path.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}" if separator else path


def _open_in_place(
    path: str, require_existing: bool | None, open_state: Callable[[bool], State]
) -> State:
    """Opens a state. One that Ray's cluster knows is not made anew in silence."""
    place = _place.of(path)
    if place is None:
        return open_state(not require_existing)
    last = place.last_opening()
    if last is None and _place.holds_something(path):
        # Before anything changes it: whoever comes after us looks for it here.
        place.note()
    reason = None
    if last is not None and require_existing is None:
        reason = place.why_it_must_exist(last)
    try:
        state = open_state(not require_existing and reason is None)
    except NotFoundError:
        if reason is None:
            raise
        raise NotFoundError(f"there is no state at {path!r}: {reason}") from None
    if last is not None and reason is not None and last.is_another(state.id, state.epoch):
        state.close()
        raise NotFoundError(f"the state at {path!r} is another one: {reason}")
    place.note(state.epoch, state.id)
    return state


class Outcome(NamedTuple):
    """What became of a call."""

    status: str
    """`"committed"`; `"expired"`: committed, but the reply is not remembered any more;
    `"unknown"`: not committed, still running, or forgotten long ago."""
    reply: Any = None
    """What the call returned, if it is committed."""


_ABSENT: Final = object()
"""The value of an attribute that the actor does not have."""


@functools.lru_cache(maxsize=256)
def _durable_names(actor_class: type, named: tuple[str, ...]) -> frozenset[str]:
    """The attributes that any safe-state method of a class names, and those `named` beside it."""
    values = [value for base in actor_class.__mro__ for value in vars(base).values()]
    functions = filter(inspect.isfunction, values)
    return frozenset(named).union(*(getattr(function, SAVES, ()) for function in functions))


class _Itself(NamedTuple):
    """A value that cannot be saved. The attribute goes back to it, whatever happened to it."""

    value: Any


class _Running:
    """The safe-state call that holds the state's lock."""

    def __init__(self, actor: Any, attributes: tuple[str, ...]) -> None:
        self.actor = actor
        self.attributes = dict.fromkeys(attributes)
        self.updates: dict[str, Any] = {}
        self.uncommitted: dict[str, Snapshot | _Itself | None] = {}
        """What attributes that were never committed go back to; `None`: the actor did not have
        it."""

    def changes(self) -> list[tuple[str, Any]]:
        values = {name: getattr(self.actor, name) for name in self.attributes}
        return list((self.updates | values).items())


class _Attempts:
    """Which attempt has committed a call. When the same attempt comes again it is no retry, but a
    second call that got the same number."""

    def __init__(self, max_calls: int) -> None:
        self._max_calls = max_calls
        self._of_calls: dict[bytes, int] = {}

    def committed(self, call: bytes, attempt: int) -> None:
        if attempt < 0:
            return
        self._of_calls[call] = attempt
        if len(self._of_calls) > self._max_calls:
            # A dictionary keeps its order: this is the oldest. The ledger has forgotten it, too.
            del self._of_calls[next(iter(self._of_calls))]

    def check_retry(self, call: bytes, attempt: int) -> None:
        if attempt >= 0 and self._of_calls.get(call) == attempt:
            raise RuntimeError(
                "a Ray task has made two safe_state calls that cannot be told apart, because "
                "several asyncio tasks of it make calls; give each call a call_id, for example "
                "child_call_id(label)"
            )


class ActorState:
    """One actor's durable attributes, with the ledger of the calls that were committed.

    `path` is a directory that is made if it is not there, an existing regular file that is empty
    or holds a state, or `redis://[user:password@]host[:port][/database]?name=NAME` (`rediss://`
    for TLS; without a password in it, that of the environment variable
    `PERSISTENT_ACTOR_REDIS_PASSWORD` is used). Opening a state makes this object its one writer: whoever had it open
    before is `Fenced`.

    - `durability`: `"power"` (a committed call survives power loss) or `"process"` (the death of
      any process).
    - `allow_pickle`: values of other types than None, bool, int, float, str, bytes, bytearray,
      list, tuple, dict and NumPy's are pickled. Loading a pickle runs code: allow it only where
      everyone who can write the state is trusted. Without it no pickle is ever loaded.
    - `require_existing`: whether a state that is not there is a `NotFoundError`. By default it is
      made anew, but not if this Ray cluster knows that it was there: a local path that was opened
      on another node, or by this actor before it was restarted, is a `NotFoundError` that says so.
      `True`: always an error. `False`: never.
    - `max_calls`, `max_reply_bytes`: how many replies are remembered for retries; those older than
      7 days may be forgotten, too. Of the 65 536 calls before these the ids are known, and their
      retries get `LedgerExpired`.

    Methods may be used from several threads, but not in a process that was forked from the one
    that opened the state: there they are a `RuntimeError`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        durability: str = "power",
        allow_pickle: bool = False,
        require_existing: bool | None = None,
        max_calls: int = 16_384,
        max_reply_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        self._path = _without_password(os.fspath(path))
        scheme, separator, _ = self._path.partition("://")
        if separator and scheme not in ("redis", "rediss"):
            raise OpenError(
                f"{self._path!r} has the unknown scheme {scheme!r}: expected redis:// or rediss://, "
                "or the path of a directory or file"
            )

        def open_state(create: bool) -> State:
            return State(
                path,
                durability=durability,
                create=create,
                max_calls=max_calls,
                max_reply_bytes=max_reply_bytes,
                allow_pickle=allow_pickle,
            )

        self._native = _open_in_place(os.fspath(path), require_existing, open_state)
        # One call at a time; a retry of a call that still runs waits here for its reply.
        self._lock = threading.RLock()
        self._running: _Running | None = None
        self._attempts = _Attempts(max_calls)
        self._process = os.getpid()
        # Attributes that are known to be committed; none is ever removed.
        self._committed: set[str] = set()

    @property
    def path(self) -> str:
        """Where the state is; of a URL, without user and password."""
        return self._path

    @property
    def epoch(self) -> int:
        """How often the state was opened, this time included."""
        return self._native.epoch

    def get(self, attr: str, default: Any) -> Any:
        """The committed value of an attribute, a new object each time. When it was never set,
        `default` is committed first."""
        self._check_process()
        with self._lock:
            found = self._native.load(attr)
            if found is None:
                self._native.commit([(attr, default)])
                found = self._native.load(attr)
            assert found is not None, "the attribute was just committed"
            return found[0]

    def update(self, pairs: Iterable[tuple[str, Any]]) -> None:
        """Commits several attributes, all or none. Inside a `safe_state` method they become part
        of that call's commit."""
        self._check_process()
        changes = list(pairs)
        for pair in changes:
            if not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str)):
                raise TypeError(f"update: expected pairs (attribute, value), found {pair!r}")
        with self._lock:
            if self._running is None:
                self._native.commit(changes)
            else:
                snapshots = [(name, self._native.snapshot(name, value)) for name, value in changes]
                self._running.updates.update(snapshots)

    @property
    def data(self) -> dict[str, Any]:
        """All committed attributes, as new objects."""
        self._check_process()
        with self._lock:
            loaded = ((name, self._native.load(name)) for name in self._native.names())
            return {name: found[0] for name, found in loaded if found is not None}

    def outcome(self, call_id: str | CallId) -> Outcome:
        """What became of a call; see `call_id_of`. Of a call that it does not know, a state that is
        `Fenced`, or whose commit failed, says nothing: that is an error."""
        self._check_process()
        status, reply = self._native.outcome(as_call_id(call_id).digest)
        return Outcome(status, reply)

    def close(self) -> None:
        """Gives files and memory back. Everything that is committed stays. In a process that was
        forked from the one that opened the state, nothing happens."""
        self._native.close()

    def __enter__(self) -> ActorState:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"ActorState({self._path!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "an ActorState cannot be pickled or sent: open the state where it is used, for "
            "example in the actor's constructor"
        )

    def _call(
        self,
        actor: Any,
        attributes: tuple[str, ...],
        call_id: str | CallId | None,
        method: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Runs a safe-state method, or answers it from the ledger."""
        self._check_process()
        with self._lock:
            if self._running is not None:
                return self._join(self._running, actor, attributes, call_id, method, args, kwargs)
            identity, attempt = self._identify(call_id)
            call, digest = b"", 0
            if identity is not None:
                call = identity.digest
                digest = State.digest(method.__qualname__, args, kwargs)
                remembered = self._native.admit(call, digest)
                if remembered is not None:
                    self._attempts.check_retry(call, attempt)
                    return remembered[0]
            running = _Running(actor, attributes)
            self._commit_missing(running, attributes)
            before = _call_id.enter(identity)
            self._running = running
            try:
                reply = method(actor, *args, **kwargs)
                _refuse_lazy(method, reply)
                self._commit(running, call, digest, reply)
                self._attempts.committed(call, attempt)
                return reply
            except BaseException:
                self._roll_back(running)
                raise
            finally:
                self._running = None
                _call_id.leave(before)

    def _commit(self, running: _Running, call: bytes, digest: int, reply: Any) -> None:
        """Saves what a call has changed, and the call with it if it has an id."""
        changes = running.changes()
        if call:
            self._native.commit_call(call, digest, changes, reply)
        else:
            self._native.commit(changes)

    def _join(
        self,
        outer: _Running,
        actor: Any,
        attributes: tuple[str, ...],
        call_id: str | CallId | None,
        method: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """A safe-state method called by another one: it is part of that call, and its attributes
        are committed with it."""
        if outer.actor is not actor:
            raise TypeError(
                f"{method.__qualname__}: another object's safe_state method is running on the "
                "same ActorState; give each object a state of its own"
            )
        if call_id is not None:
            raise TypeError(
                f"{method.__qualname__}: call_id={call_id!r} inside another safe_state method of "
                "the same actor: the call is part of that one and has its id"
            )
        outer.attributes.update(dict.fromkeys(attributes))
        if not self._committed.issuperset(attributes):
            self._remember(outer, attributes)
        return method(actor, *args, **kwargs)

    def _identify(self, call_id: str | CallId | None) -> tuple[CallId | None, int]:
        """The id of the call that begins: the caller's, or that of the Ray task. A task that
        calls several safe-state methods one after the other numbers them. Also which attempt at
        the task this is, -1 if that is not known."""
        if call_id is not None:
            return as_call_id(call_id), -1
        task = _ray.current_task()
        if task is None:
            return None, -1
        ordinal = _call_id.next_ordinal(task, self._path)
        if ordinal > 0 and task.attempt < 0:
            raise RuntimeError(
                "this version of Ray does not tell retries apart, so a task may call one "
                "safe_state method only; give the others a call_id"
            )
        identity = _call_id.of_task(task.session, task.task)
        identity = identity if ordinal == 0 else CallId(f"{identity.text}+{ordinal}")
        return identity, task.attempt

    def _check_process(self) -> None:
        """Refuses a forked child before it waits for a lock: the thread that held it at the fork is
        not there."""
        if os.getpid() != self._process:
            raise RuntimeError(
                f"this ActorState was opened in another process (pid {self._process}): open the "
                "state again here"
            )

    def _commit_missing(self, running: _Running, attributes: tuple[str, ...]) -> None:
        """Commits, before the method runs, the durable attributes that the state does not have, so
        that there is something to go back to. Those that other methods of the class name, too: this
        one may change one of them and then call, or fail before it calls, the method that saves
        it."""
        names = _durable_names(running.actor.__class__, attributes)
        if self._committed.issuperset(names):
            return
        self._committed.update(self._native.names())
        before = {name: self._as_it_is(running, name) for name in names - self._committed}
        values = {name: value for name, value in before.items() if isinstance(value, Snapshot)}
        if values:
            self._native.commit(list(values.items()))
            self._committed.update(values)
        running.uncommitted.update(
            (name, value) for name, value in before.items() if not isinstance(value, Snapshot)
        )

    def _as_it_is(self, running: _Running, name: str) -> Snapshot | _Itself | None:
        """What an attribute goes back to that is not committed."""
        value = getattr(running.actor, name, _ABSENT)
        if value is _ABSENT:
            return None
        try:
            return self._native.snapshot(name, value)
        except (TypeError, ValueError):
            # It may stand in for what the method is about to set.
            return _Itself(value)

    def _remember(self, outer: _Running, attributes: tuple[str, ...]) -> None:
        """The same for a method that begins inside another one and is not in the actor's class, so
        that nobody knew of its attributes. The outer call may have changed them already: to commit
        them now would save a part of that call even if it fails. So what they are is kept, and that
        is what they go back to."""
        for name in attributes:
            if name in self._committed or name in outer.uncommitted:
                continue
            outer.uncommitted[name] = self._as_it_is(outer, name)

    def _roll_back(self, running: _Running) -> None:
        """Sets the actor's durable attributes to what is committed, or to what they were."""
        if os.getpid() != self._process:
            # The process was forked in the method. The exception in the child is its own affair.
            return
        actor, committed = running.actor, set(self._native.names())
        durable = _durable_names(actor.__class__, tuple(running.attributes))
        for name in committed:
            found = self._native.load(name)
            if found is not None and (name in durable or hasattr(actor, name)):
                setattr(actor, name, found[0])
        for name, before in running.uncommitted.items():
            if name in committed:
                continue
            if isinstance(before, _Itself):
                setattr(actor, name, before.value)
            elif before is not None:
                setattr(actor, name, self._native.restore(name, before))
            elif hasattr(actor, name):
                # The method may have set it where it cannot be removed, as in the class.
                with contextlib.suppress(AttributeError):
                    delattr(actor, name)


def _refuse_lazy(method: Callable[..., Any], reply: Any) -> None:
    """What runs only after the method has returned cannot be part of its commit."""
    if hasattr(reply, "__await__") or hasattr(reply, "__next__"):
        raise TypeError(
            f"{method.__qualname__} returned a {type(reply).__name__}, which runs after the "
            "commit; a safe_state method returns its result"
        )
