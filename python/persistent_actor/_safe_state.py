"""`safe_state`: a method whose changes, reply and call id are committed in one record."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from ._state import SAVES, ActorState

F = TypeVar("F", bound=Callable[..., Any])

_CALL_ID = "call_id"


def safe_state(*attributes: str) -> Callable[[F], F]:
    """Commits the named attributes of the actor, the reply and the call's id in one atomic
    record, after the method has run and before it returns.

    Under Ray a retry of a call that was committed gets the reply of that one execution, and the
    method does not run again. When the method raises, nothing is saved and the actor's durable
    attributes go back to the last commit. For that, those that the state does not have yet are
    committed before the first call runs, as they are then. Calls run one at a time, also in a
    threaded actor.

    The actor keeps its `ActorState` in the attribute `state` or in any other, as long as it has
    only one. The method gets a keyword `call_id`: an id of the caller's own choice, for calls
    that must be recognised across tasks (see `child_call_id`).
    """
    if not attributes or not all(isinstance(name, str) for name in attributes):
        raise TypeError(
            'safe_state needs the names of the attributes to save, like @safe_state("counter")'
        )
    twice = [name for name in dict.fromkeys(attributes) if attributes.count(name) > 1]
    if twice:
        raise TypeError(f"safe_state names {twice[0]!r} twice")
    wrong = [name for name in attributes if not name.isidentifier()]
    if wrong:
        raise TypeError(f"safe_state: {wrong[0]!r} is not the name of an attribute")

    def decorate(method: F) -> F:
        _check(method)
        takes_call_id = _CALL_ID in inspect.signature(method).parameters

        @functools.wraps(method)
        def wrapper(self: Any, /, *args: Any, **kwargs: Any) -> Any:
            call_id = None if takes_call_id else kwargs.pop(_CALL_ID, None)
            state = _find_state(self, method)
            return state._call(self, attributes, call_id, method, args, kwargs)

        setattr(wrapper, SAVES, attributes)
        if not takes_call_id:
            wrapper.__signature__ = _with_call_id(inspect.signature(method))  # type: ignore[attr-defined]
            # Ray looks through wrappers for the signature and would not find the keyword.
            del wrapper.__wrapped__
        return wrapper  # type: ignore[return-value]

    return decorate


def _check(method: object) -> None:
    """Refuses what cannot be committed after it has run."""
    if isinstance(method, (staticmethod, classmethod, property)):
        kind = type(method).__name__
        hint = "put @safe_state on a method that takes self"
        if isinstance(method, property):
            hint = "a property is read, not called"
        raise TypeError(f"safe_state cannot be used on a {kind}: {hint}")
    if not inspect.isfunction(method):
        raise TypeError(f"safe_state is for methods, not for {method!r}")
    name = method.__qualname__
    if inspect.iscoroutinefunction(method):
        raise TypeError(
            f"safe_state cannot be used on the async method {name}: other calls could change the "
            "actor while it waits; write a plain method"
        )
    if inspect.isgeneratorfunction(method) or inspect.isasyncgenfunction(method):
        raise TypeError(
            f"safe_state cannot be used on the generator {name}: it would run after the commit; "
            "return a list"
        )
    parameters = list(inspect.signature(method).parameters.values())
    if not parameters or parameters[0].kind not in (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.VAR_POSITIONAL,
    ):
        raise TypeError(f"safe_state is for methods, but {name} takes no self")


def _with_call_id(signature: inspect.Signature) -> inspect.Signature:
    """The signature with the keyword `call_id`: Ray checks arguments where the call is made."""
    parameters = list(signature.parameters.values())
    keyword = inspect.Parameter(
        _CALL_ID, inspect.Parameter.KEYWORD_ONLY, default=None, annotation="str | CallId | None"
    )
    place = len(parameters)
    if parameters and parameters[-1].kind is inspect.Parameter.VAR_KEYWORD:
        place -= 1
    parameters.insert(place, keyword)
    return signature.replace(parameters=parameters)


def _find_state(actor: Any, method: Callable[..., Any]) -> ActorState:
    state = getattr(actor, "state", None)
    if isinstance(state, ActorState):
        return state
    found = [value for value in vars(actor).values() if isinstance(value, ActorState)]
    if len(found) == 1:
        return found[0]
    problem = "has no ActorState" if not found else "has more than one ActorState"
    raise TypeError(
        f"{method.__qualname__}: the actor {problem}; set self.state = ActorState(path) in its "
        "constructor"
    )
