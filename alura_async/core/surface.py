"""One definition, two surfaces: the descriptors that make a group's method awaitable or blocking.

A group is written once. `AsyncAlura` holds it as `TradingSessions[Async]`, `Alura` as `TradingSessions[Sync]`, and
the overloads of `__get__` below give each its own type:

    @endpoint     one HTTP call: a pure function from arguments to `Parts[T]`
    @operation    several calls: an `async def`, written against the async surface
    @stream       an async generator of batches, which the surface flattens into single items

"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator, Sequence
from functools import update_wrapper
from types import SimpleNamespace
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    ParamSpec,
    Protocol,
    TypeVar,
    cast,
    get_args,
    get_type_hints,
    overload,
)

from .request import Access, Action, Effect, Lane, Parts, Request, Route

if TYPE_CHECKING:
    from ..assets import Assets

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Async:
    """Marks a group whose methods are awaited."""


class Sync:
    """Marks a group whose methods block."""


Mode = TypeVar("Mode", bound=Async | Sync)
M = TypeVar("M", bound=Async | Sync)


class Client(Protocol):
    """What a group needs of the client that holds it."""

    @property
    def assets(self) -> Assets:
        """Which index a symbol has."""
        ...

    @property
    def poll_interval(self) -> float:
        """Seconds between two reads of a polling stream."""
        ...

    def send(self, request: Request[T]) -> Any:
        """Make a call: the result, or a coroutine that gives it."""
        ...


class Group(Generic[Mode]):
    """Endpoints and operations that belong together; on a client under the group's name.

    Args:
        client: the client that sends.
        twin: for the blocking surface, the same group of the async client behind it.
    """

    def __init__(self, client: Client, twin: Group[Async] | None = None) -> None:
        self._client = client
        self._twin = twin

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._client!r}>"


class _Unbound:
    """Stands in for a client where a request is made without one: only the default asset table is there."""

    poll_interval = 2.0

    @property
    def assets(self) -> Assets:
        from ..assets import DEFAULT_ASSETS

        return DEFAULT_ASSETS

    def send(self, request: Request[T]) -> Any:
        raise TypeError("this group belongs to no client")


class _Method(Generic[P, T]):
    """What the three kinds of method share: their name, their text and their signature."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.__doc__ = function.__doc__
        self.__name__ = function.__name__
        self.__wrapped__ = function
        self.__module__ = function.__module__
        self.__qualname__ = function.__qualname__

    @property
    def __signature__(self) -> inspect.Signature:
        """The method's signature as a caller of the async surface sees it."""
        return self._signature(asynchronous=True)

    def _signature(self, *, asynchronous: bool) -> inspect.Signature:
        """Without `self`, returning what the call gives."""
        signature = inspect.signature(self._function)
        _, *parameters = signature.parameters.values()
        returns = self._returns(signature.return_annotation, asynchronous)
        return signature.replace(parameters=parameters, return_annotation=returns)

    def _returns(self, annotation: Any, asynchronous: bool) -> Any:
        return annotation

    def __repr__(self) -> str:
        return f"<{type(self).__name__.lower()} {self.__qualname__}>"

    def _dress(self, group: Group[Any], call: Callable[..., Any]) -> Any:
        """Make a bound callable look like the definition, and keep it on the group: the next access is a plain
        lookup.
        """
        update_wrapper(call, self._function)
        call.__signature__ = self._signature(asynchronous=group._twin is None)  # type: ignore[attr-defined]
        group.__dict__[self.__name__] = call
        return call


class Endpoint(_Method[P, T]):
    """One endpoint of the API. On a group it is the call; on the class it is this, with `.request` and `.route`."""

    def __init__(self, route: Route[T], function: Callable[Concatenate[Any, P], Parts[T]]) -> None:
        super().__init__(function)
        self.route = route

    @overload
    def __get__(self, group: None, owner: type) -> Endpoint[P, T]: ...
    @overload
    def __get__(self, group: Group[Async], owner: type) -> Callable[P, Coroutine[object, None, T]]: ...
    @overload
    def __get__(self, group: Group[Sync], owner: type) -> Callable[P, T]: ...
    def __get__(self, group: Group[Any] | None, owner: type) -> Any:
        if group is None:
            return self
        build, fill, send = self._function, self.route.fill, group._client.send
        if group._twin is None:

            async def call_async(*args: P.args, **kwargs: P.kwargs) -> T:
                result: T = await send(fill(build(group, *args, **kwargs)))
                return result

            return self._dress(group, call_async)

        def call_sync(*args: P.args, **kwargs: P.kwargs) -> T:
            result: T = send(fill(build(group, *args, **kwargs)))
            return result

        return self._dress(group, call_sync)

    def request(self, *args: P.args, **kwargs: P.kwargs) -> Request[T]:
        """Make the request of a call without sending it. Symbols are looked up in the default asset table."""
        return self.route.fill(self._function(_UNBOUND, *args, **kwargs))

    def _returns(self, annotation: Any, asynchronous: bool) -> Any:
        return _inside(annotation, "Parts")


def endpoint(
    method: str,
    template: str,
    *,
    effect: Effect | None = None,
    access: Access = Access.OPTIONAL,
    lane: Lane = Lane.ACCOUNT,
    action: Action = Action.OTHER,
    own_connection: bool = False,
) -> Callable[[Callable[Concatenate[Any, P], Parts[T]]], Endpoint[P, T]]:
    """Define an endpoint by what it is, above the function that says what a call's arguments add to it.

    Args:
        method: `GET` or `POST`.
        template: the path, with `:name` for each segment that the function fills in.
        effect: by default `READ` for GET and `ONCE` for POST: what is not said to be harmless is not repeated.
        access: whether the call carries a token.
        lane: whose call goes first.
        action: what it does with money.
        own_connection: whether it has a connection of its own; `ONCE` calls always have.
    """

    def define(function: Callable[Concatenate[Any, P], Parts[T]]) -> Endpoint[P, T]:
        def returns() -> Any:
            # Only the return annotation: the arguments' may name what is imported for type checkers alone.
            names = SimpleNamespace(__annotations__={"return": function.__annotations__["return"]})
            (returned,) = get_args(get_type_hints(names, globalns=function.__globals__)["return"])
            return returned

        route: Route[T] = Route(
            method,
            template,
            cast("type[T]", returns),
            effect=effect,
            access=access,
            lane=lane,
            action=action,
            own_connection=own_connection,
        )
        return Endpoint(route, function)

    return define


class operation(_Method[P, T]):  # noqa: N801 - it is used as a decorator
    """Several calls under one name, written against the async surface."""

    def __init__(self, function: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]) -> None:
        super().__init__(function)

    @overload
    def __get__(self, group: None, owner: type) -> operation[P, T]: ...
    @overload
    def __get__(self, group: Group[Async], owner: type) -> Callable[P, Coroutine[object, None, T]]: ...
    @overload
    def __get__(self, group: Group[Sync], owner: type) -> Callable[P, T]: ...
    def __get__(self, group: Group[Any] | None, owner: type) -> Any:
        if group is None:
            return self
        function, twin = self._function, group._twin
        if twin is None:

            async def call_async(*args: P.args, **kwargs: P.kwargs) -> T:
                result: T = await function(group, *args, **kwargs)
                return result

            return self._dress(group, call_async)

        run: Callable[..., T] = group._client._run  # type: ignore[attr-defined]

        def call_sync(*args: P.args, **kwargs: P.kwargs) -> T:
            return run(function, twin, *args, **kwargs)

        return self._dress(group, call_sync)


class stream(_Method[P, T]):  # noqa: N801 - it is used as a decorator
    """An iterator over what several calls bring, written as an async generator of batches.

    A batch is what one reply brought. The async surface flattens it; the blocking one crosses to the loop's thread
    once for a batch, not once for an item.
    """

    def __init__(self, function: Callable[Concatenate[Any, P], AsyncIterator[Sequence[T]]]) -> None:
        super().__init__(function)

    @overload
    def __get__(self, group: None, owner: type) -> stream[P, T]: ...
    @overload
    def __get__(self, group: Group[Async], owner: type) -> Callable[P, AsyncGenerator[T, None]]: ...
    @overload
    def __get__(self, group: Group[Sync], owner: type) -> Callable[P, SyncStream[T]]: ...
    def __get__(self, group: Group[Any] | None, owner: type) -> Any:
        if group is None:
            return self
        function, twin = self._function, group._twin
        if twin is None:

            async def iterate_async(*args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[T, None]:
                batches = function(group, *args, **kwargs)
                try:
                    async for batch in batches:
                        for item in batch:
                            yield item
                finally:
                    await batches.aclose()

            return self._dress(group, iterate_async)

        iterate: Callable[..., SyncStream[T]] = group._client._iterate  # type: ignore[attr-defined]

        def iterate_sync(*args: P.args, **kwargs: P.kwargs) -> SyncStream[T]:
            return iterate(function(twin, *args, **kwargs))

        return self._dress(group, iterate_sync)

    def _returns(self, annotation: Any, asynchronous: bool) -> Any:
        item = _inside(_inside(annotation, "AsyncIterator"), "Sequence")
        return f"{'Async' if asynchronous else ''}Iterator[{item}]"


class SyncStream(Protocol[T_co]):
    """A plain iterator that can be closed before it is exhausted, by `close()` or by leaving a `with` block."""

    def __iter__(self) -> Iterator[T_co]: ...
    def __next__(self) -> T_co: ...
    def __enter__(self) -> SyncStream[T_co]: ...
    def __exit__(self, *exception: Any) -> None: ...
    def close(self) -> None:
        """Stop. Items that were read and not taken yet are dropped."""
        ...


def _inside(annotation: Any, outer: str) -> str:
    """`Parts[X]` to `X`. Annotations are text: every file that defines groups begins with the future import."""
    text = str(annotation)
    return text[len(outer) + 1 : -1] if text.startswith(outer + "[") else text


_UNBOUND: Group[Any] = Group(_Unbound())
