"""Which states a verb needs: told once, at its head."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar, cast

from oriel.model.errors import StateError
from oriel.model.state import State

__all__ = ["require"]


class HasState(Protocol):
    @property
    def state(self) -> State: ...


Verb = TypeVar("Verb", bound=Callable[..., Coroutine[Any, Any, Any]])


def require(*states: State) -> Callable[[Verb], Verb]:
    """Refuse the verb with a StateError unless the desktop is in one of `states`."""

    def decorate(verb: Verb) -> Verb:
        @functools.wraps(verb)
        async def checked(self: HasState, *args: Any, **kwargs: Any) -> Any:
            if self.state not in states:
                raise StateError(
                    f"the desktop is {self.state}: it cannot {verb.__name__} now",
                    hint=f"{verb.__name__} needs a desktop that is {' or '.join(states)}",
                )
            return await verb(self, *args, **kwargs)

        return cast(Verb, checked)

    return decorate
