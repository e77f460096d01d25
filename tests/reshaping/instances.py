"""Values of every response type, from the annotations alone: hypothesis strategies, and one full specimen of each."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from types import NoneType
from typing import Annotated, Any, Literal, TypeAlias, get_args, get_origin

import msgspec
from hypothesis import strategies as st

import alura_async
from alura_async import Candle, Page, Request, Route, Secret
from alura_async.core.model import OpenEnum
from alura_async.core.request import Effect
from alura_async.core.surface import Endpoint

GROUPS = (
    alura_async.Auth,
    alura_async.TradingSessions,
    alura_async.User,
    alura_async.Indicators,
    alura_async.Leaderboard,
    alura_async.Referrals,
    alura_async.UsdcVerification,
    alura_async.Health,
)
ENDPOINTS: dict[str, Route[Any]] = {
    f"{group.__name__}.{name}": found.route
    for group in GROUPS
    for name, found in vars(group).items()
    if isinstance(found, Endpoint)
}

# What a field holds, and so how it may be written.
Kind: TypeAlias = Literal[
    "amount", "price", "float", "whole", "id", "text", "flag", "time", "milliseconds", "choice", "secret", "free",
    "table", "rows", "struct",
]  # fmt: skip


@dataclass(frozen=True)
class Field:
    """A field of a Struct: its attribute, what it holds, and the type within (of a choice, of rows, of a Struct)."""

    name: str
    kind: Kind
    inner: Any
    required: bool


def fields_of(struct: Any) -> tuple[Field, ...]:
    # The cache is behind it: to mypy a type is nothing that can be hashed.
    return _fields_of(struct)


@cache
def _fields_of(struct: Any) -> tuple[Field, ...]:
    return tuple(
        Field(field.name, *_kind(field.name, field.type), required=field.required)
        for field in msgspec.structs.fields(struct)
        if field.name != "_extra"
    )


def is_struct(kind: Any) -> bool:
    kind = get_origin(kind) or kind
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def is_list(kind: Any) -> bool:
    """Whether a type is a list, or one of our own lists."""
    origin = get_origin(kind)
    return isinstance(origin, type) and issubclass(origin, list)


def _kind(name: str, annotation: Any) -> tuple[Kind, Any]:
    wanted = without_none(annotation)
    if get_origin(wanted) is Annotated:
        wanted = get_args(wanted)[0]
    origin, inner = get_origin(wanted), get_args(wanted)
    if name.endswith("_text"):
        return "price", None  # a candle keeps its numbers as the wire had them
    if wanted is str:
        return ("id" if name == "id" or name.endswith("_id") else "text"), None
    if wanted is int:
        return ("milliseconds" if name.endswith("_ms") else "whole"), None
    if origin is dict:
        return ("table" if Decimal in get_args(inner[1]) else "free"), None
    if is_list(wanted):
        return "rows", inner[0]
    plain: dict[Any, Kind] = {Decimal: "amount", float: "float", bool: "flag", datetime: "time", Secret: "secret"}
    if wanted in plain:
        return plain[wanted], None
    if is_struct(wanted):
        return "struct", wanted
    if isinstance(wanted, type) and issubclass(wanted, OpenEnum):
        return "choice", wanted
    raise TypeError(f"{name}: {annotation!r} is a type that nobody has said how to write; say it in {__name__}")


def without_none(annotation: Any) -> Any:
    """`X | None` is `X` here: what may be absent is absent."""
    members = [member for member in get_args(annotation) if member is not NoneType]
    return members[0] if NoneType in get_args(annotation) and len(members) == 1 else annotation


# A call and what is to come back


@dataclass(frozen=True)
class Case:
    """A call, and the value that its reply is to be read as.

    Attributes:
        endpoint: which endpoint, as `Group.method`.
        path: what the call's path names, by attribute: `{"symbol": "BTC"}`.
        value: what the server has to say: a Struct, a list, or None. Its `extra` is what the type does not name.
    """

    endpoint: str
    path: Mapping[str, str]
    value: Any

    @property
    def route(self) -> Route[Any]:
        return ENDPOINTS[self.endpoint]

    @property
    def returns(self) -> Any:
        """The type that is returned, if anything is."""
        return without_none(self.route.returns)

    @property
    def rows(self) -> list[Any] | None:
        """The items, where a list or a page of them is returned."""
        if isinstance(self.value, Page):
            return self.value.data
        return self.value if isinstance(self.value, list) else None

    @property
    def item(self) -> Any:
        """The type of the items, or of the one that is returned."""
        return item_of(self.returns)

    def request(self, route: Route[Any] | None = None) -> Request[Any]:
        return (route or self.route).request(*self.path.values())

    def fresh_route(self) -> Route[Any]:
        """The endpoint as if it had never been called."""
        route = self.route
        return Route(
            route.method,
            route.template,
            route.returns,
            effect=route.effect,
            access=route.access,
            lane=route.lane,
            action=route.action,
        )

    def expected(self) -> Any:
        """What the call returns: the value, and from the path what it leaves out."""
        if self.value is None:
            return None
        if self.rows is None:
            return self._filled(self.value)
        rows = [self._filled(row) for row in self.rows]
        return msgspec.structs.replace(self.value, data=rows) if isinstance(self.value, Page) else rows

    def _filled(self, item: Any) -> Any:
        if not is_struct(type(item)):
            return item
        missing = {name: value for name, value in self.path.items() if getattr(item, name, value) is None}
        return msgspec.structs.replace(item, **missing)


def item_of(returns: Any) -> Any:
    if is_list(returns) or get_origin(returns) is Page:
        return get_args(returns)[0]
    return returns


def is_sparse(value: Any) -> bool:
    """Whether a Struct of optional fields says nothing by which it could be recognised."""
    return not any(
        getattr(value, field.name) is not None and field.kind not in ("free", "table", "rows")
        for field in fields_of(type(value))
    )


# Strategies. Ranges are those in which a value means one thing only; the limits say why.

# Its first and last days are left out: a zone must not carry a time across the bounds within which numbers are times.
_FIRST, _LAST = datetime(2000, 1, 2, tzinfo=UTC), datetime(2199, 12, 30, tzinfo=UTC)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_MS, _LAST_MS = 946_771_200_000, 7_258_032_000_000

SYMBOLS = ("BTC", "ETH", "SOL", "kPEPE", "@107", "PURR/USDC", "DOGE", "UNI-USD", "XRP")
INTERVALS = ("1m", "5m", "15m", "1h", "4h", "1d")
# Values that no enumeration of ours knows. None of them says that a call failed.
_NEW_VALUES = ("Partially_Closed", "liquidated", "SETTLING", "trailing-stop", "übernommen")

_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_ids = st.one_of(
    st.integers(0, 10**18).map(str),
    st.integers(1, 10**6).map("s{}".format),
    st.integers(0, 10**4).map("{:08d}".format),
    st.uuids().map(str),
    st.integers(0, 16**24 - 1).map("{:024x}0a".format),
)
_amounts = st.builds(
    lambda digits, exponent: Decimal(f"{digits}E{exponent}"),
    st.one_of(st.integers(-(10**6), 10**6), st.integers(-(10**38), 10**38)),
    st.one_of(st.integers(-8, 0), st.integers(-24, 12)),
)
_wholes = st.one_of(st.integers(0, 20), st.integers(0, 2**53))
_milliseconds = st.integers(_FIRST_MS, _LAST_MS)
_times = st.one_of(
    _milliseconds.map(lambda ms: _EPOCH + timedelta(milliseconds=ms)),
    st.integers(_FIRST_MS * 1000, _LAST_MS * 1000).map(lambda us: _EPOCH + timedelta(microseconds=us)),
)
_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.integers(-(10**20), 10**20).map(lambda digits: Decimal(f"{digits}E-9")),
    _texts,
)
_free = st.dictionaries(
    _texts,
    st.recursive(_scalars, lambda values: st.lists(values, max_size=2) | st.dictionaries(_texts, values, max_size=2)),
    max_size=3,
)

# Names of what no type has, and names that are fields of some types: those are planted only where they are not.
_NEUTRAL = ("region", "__v", "shard", "x-note", "featureFlags", "メモ", "$odd", "a.b", "build_number")
_FOREIGN = (
    ("leverage", "leverage"), ("liquidationPx", "liquidation_price"), ("closeReason", "close_reason"),
    ("winRate", "win_rate"), ("strategyDuration", "strategy_duration"), ("medianPnl", "median_pnl"),
    ("tokenType", "token_type"), ("claimable_rewards", "claimable_rewards"), ("maxWalletBudget", "max_wallet_budget"),
)  # fmt: skip
# Within what is planted there are no names of fields: an object of them could be the value, and the rest a wrapper.
_planted_values = st.one_of(
    _scalars,
    st.lists(_scalars, max_size=2),
    st.dictionaries(
        st.sampled_from(("zone", "tags", "rs0", "__v")), _scalars | st.lists(_scalars, max_size=2), max_size=2
    ),
)


@cache
def planted_names(struct: Any) -> tuple[str, ...]:
    if struct is Page:
        return _NEUTRAL  # what a page does not name may be a field of its items
    own = {field.name for field in fields_of(struct)}
    return _NEUTRAL + tuple(name for name, field in _FOREIGN if field not in own and "address" not in own - {field})


@cache
def _extras(struct: Any) -> st.SearchStrategy[dict[str, Any] | None]:
    planted = st.dictionaries(st.sampled_from(planted_names(struct)), _planted_values, min_size=1, max_size=2)
    return st.one_of(st.none(), st.none(), planted)


@cache
def structs(struct: Any) -> st.SearchStrategy[Any]:
    """Instances of a Struct, with anything absent that may be, and with fields that it does not name."""
    if struct is Candle:
        raise TypeError("a candle is made with its neighbours: their times are in order")
    required = {field.name: _of(struct, field) for field in fields_of(struct) if field.required}
    optional = {field.name: _of(struct, field) for field in fields_of(struct) if not field.required}
    made = st.builds(
        lambda values, extra: struct(**values, _extra=extra),
        st.fixed_dictionaries(required, optional=optional),
        _extras(struct),
    )
    return made if required else made.filter(lambda value: not is_sparse(value))


def _of(struct: Any, field: Field) -> st.SearchStrategy[Any]:
    """What a field may hold; by its name where the name says more than the type."""
    by_name: dict[str, st.SearchStrategy[Any]] = {
        "symbol": st.sampled_from(SYMBOLS),
        "interval": st.sampled_from(INTERVALS),
        # Never negative, says its docstring.
        "size": _amounts.map(abs_exactly),
        # A success that says no is an error.
        "ok": st.just(True),
        # Of a call that does something, `status: "error"` is an error too.
        "status": st.sampled_from(("ok", "up", "degraded")),
    }
    by_kind: dict[Kind, Callable[[], st.SearchStrategy[Any]]] = {
        "amount": lambda: _amounts,
        "float": lambda: st.integers(0, 10**9).map(lambda thousandths: thousandths / 1000),
        "whole": lambda: _wholes,
        "id": lambda: _ids,
        "text": lambda: _texts,
        "flag": st.booleans,
        "time": lambda: _times,
        "choice": lambda: st.sampled_from((*field.inner, *map(field.inner, _NEW_VALUES))),
        "secret": lambda: st.integers(0, 16**8).map("s3cret-{:x}".format).map(Secret),
        "free": lambda: _free,
        "table": lambda: st.dictionaries(st.sampled_from(("rsi", "macd_signal", "EMA-20")), st.none() | _amounts),
        # Not often none: there is nothing to write in many ways.
        "rows": lambda: lists(field.inner, max_size=3) | lists(field.inner, min_size=1, max_size=3),
        "struct": lambda: structs(field.inner),
    }
    if field.name in by_name and field.kind in ("text", "amount", "flag"):
        return by_name[field.name]
    return by_kind[field.kind]()


def abs_exactly(amount: Decimal) -> Decimal:
    """Without its sign. `abs` would round to the context's precision."""
    return amount.copy_abs()


@cache
def lists(item: Any, min_size: int = 0, max_size: int = 4) -> st.SearchStrategy[list[Any]]:
    """Lists of Structs or of symbols; ids are unique in them, as are the texts."""
    if item is str:
        return st.lists(st.sampled_from(SYMBOLS), unique=True, min_size=min_size, max_size=max_size)
    identity: Callable[[Any], Any] = id
    if any(field.name == "id" for field in fields_of(item)):
        identity = lambda value: id(value) if value.id is None else value.id  # noqa: E731
    found = st.lists(structs(item), min_size=min_size, max_size=max_size, unique_by=identity)
    return found | st.builds(_told_apart, found, st.integers(1000, 9999))


def _told_apart(items: list[Any], start: int) -> list[Any]:
    """Each with a symbol and an id of its own, where they have such: what a map needs."""
    names = {name for item in items for name in ("id", "symbol") if hasattr(item, name)}
    return [
        msgspec.structs.replace(
            item, **{name: SYMBOLS[(start + index) % 9] if name == "symbol" else f"{start + index}" for name in names}
        )
        for index, item in enumerate(items)
    ]


@st.composite
def candle_lists(draw: st.DrawFn, symbol: str | None, interval: str | None) -> list[Candle]:
    """Candles as a market makes them: high above all, low below all, one after another.

    Args:
        draw: hypothesis' own.
        symbol: whose they are, where the path names it; else there is one candle of each of several symbols.
        interval: the same of the interval.
    """
    start = draw(_milliseconds) // 60_000 * 60_000
    names = draw(st.lists(st.sampled_from(SYMBOLS), unique=True, max_size=4)) if symbol is None else []
    says_whose, says_rest = draw(st.booleans()), draw(st.booleans())
    scale = draw(st.integers(-9, 0))
    candles: list[Candle] = []
    for index in range(len(names) if symbol is None else draw(st.integers(0, 5))):
        low, *middle, high = sorted(draw(st.lists(st.integers(1, 10**9), min_size=4, max_size=4)))
        first, last = middle if draw(st.booleans()) else reversed(middle)
        opened = start + 60_000 * index * (symbol is not None)
        candles.append(
            Candle(
                open_time_ms=opened,
                close_time_ms=opened + 59_999 if says_rest else None,
                symbol=names[index] if symbol is None else symbol if says_whose else None,
                interval=(interval or draw(st.sampled_from(INTERVALS))) if says_whose else None,
                open_text=_price(first, scale),
                high_text=_price(high, scale),
                low_text=_price(low, scale),
                close_text=_price(last, scale),
                volume_text=draw(st.none() | _amounts.map(abs_exactly).map(lambda volume: format(volume, "f"))),
                trades=draw(_wholes) if says_rest else None,
                _extra=draw(_extras(Candle)) if says_rest else None,
            )
        )
    return candles


def _price(digits: int, scale: int) -> str:
    return format(Decimal(f"{digits}E{scale}"), "f")


@st.composite
def pages(draw: st.DrawFn, page: Any) -> Page[Any]:
    """Pages whose facts can be true of their items."""
    items = draw(lists(item_of(page)))
    return Page(
        data=items,
        total=draw(st.none() | st.integers(len(items), 10**6)),
        page=draw(st.none() | st.integers(1, 50)),
        limit=draw(st.none() | st.integers(max(1, len(items)), 200)),
        _extra=draw(st.none() | st.none() | _extras(Page)),
    )


@st.composite
def cases(draw: st.DrawFn, endpoint: str) -> Case:
    """Calls of an endpoint with what their replies are to be read as."""
    route = ENDPOINTS[endpoint]
    path = {
        name: draw({"symbol": st.sampled_from(SYMBOLS), "interval": st.sampled_from(INTERVALS)}.get(name, _ids))
        for name in named_by(route)
    }
    return Case(endpoint, path, _echoing(path, draw(_values(route, path)), draw(st.booleans())))


def named_by(route: Route[Any]) -> list[str]:
    """The attributes that a path names: `/trades/:tradeId/logs` names `trade_id`."""
    return [
        re.sub("[A-Z]", lambda capital: "_" + capital[0].lower(), name)
        for name in re.findall(r":(\w+)", route.template)
    ]


def _values(route: Route[Any], path: Mapping[str, str]) -> st.SearchStrategy[Any]:
    returns = without_none(route.returns)
    if is_list(returns) and item_of(returns) is Candle:
        return candle_lists(path.get("symbol"), path.get("interval"))
    if get_origin(returns) is Page:
        return pages(returns)
    if is_list(returns):
        return lists(item_of(returns))
    made = structs(returns)
    if returns is not route.returns:
        return st.one_of(made, made, st.none())
    if may_be_terse(route):
        # No more than a word, or nothing: for the replies that are no JSON.
        return st.one_of(made, made, made, st.sampled_from((returns(), *terse(returns))))
    return made


def may_be_terse(route: Route[Any]) -> bool:
    """Whether an empty reply to it is one: a call that does something, and whose type needs nothing."""
    return route.effect is not Effect.READ and is_struct(route.returns) and not has_required(route.returns)


def has_required(struct: Any) -> bool:
    return any(field.required for field in fields_of(struct))


def terse(struct: Any) -> list[Any]:
    """An instance that a few words of plain text can say, where there is one."""
    has_message = any(field.name == "message" for field in fields_of(struct))
    return [struct(message="It is being done")] if has_message else []


def _echoing(path: Mapping[str, str], value: Any, echoes: bool) -> Any:
    """Most servers say of an item whose it is as the path does, where they say it at all."""
    if not echoes or not path:
        return value
    if isinstance(value, Page):
        return msgspec.structs.replace(value, data=[_echoing(path, item, echoes) for item in value.data])
    if isinstance(value, list):
        return [_echoing(path, item, echoes) for item in value]
    if not is_struct(type(value)) or is_sparse(value):
        return value
    said = {name: text for name, text in path.items() if getattr(value, name, None) is not None}
    return msgspec.structs.replace(value, **said)


# Specimens: one of each type, with everything, always the same


def specimen(endpoint: str) -> Case:
    """A call of an endpoint with a reply in which every field says something."""
    route = ENDPOINTS[endpoint]
    path = {name: {"symbol": "BTC", "interval": "1m"}.get(name, f"{name}-1") for name in named_by(route)}
    returns = without_none(route.returns)
    value: Any
    if is_list(returns) and item_of(returns) is Candle:
        value = [_candle(index, path) for index in range(3)]
    elif is_list(returns) and item_of(returns) is str:
        value = ["BTC", "kPEPE", "PURR/USDC"]
    elif is_list(returns):
        value = [_full(item_of(returns), index, path) for index in range(2)]
    elif get_origin(returns) is Page:
        value = Page(data=[_full(item_of(returns), index, path) for index in range(2)], total=41, page=2, limit=2)
    else:
        value = _full(returns, 0, path)
    return Case(endpoint, path, value)


def _full(struct: Any, index: int, path: Mapping[str, str]) -> Any:
    def of(field: Field) -> Any:
        by_kind: dict[Kind, Callable[[], Any]] = {
            "amount": lambda: Decimal(f"{index + 1}234.500000000000000000{len(field.name)}"),
            "float": lambda: 86400 + index,
            "whole": lambda: len(field.name) + index,
            "id": lambda: path.get(field.name, f"{1000 * len(field.name) + index}"),
            "text": lambda: f"{field.name} {index}",
            "flag": lambda: True,
            "time": lambda: datetime(2026, 3, 1, 12, 0, len(field.name), 123_000, tzinfo=UTC),
            "choice": lambda: next(iter(field.inner)),
            "secret": lambda: Secret(f"s3cret-{index}"),
            "free": lambda: {"step": 1, "more": {"price": Decimal("0.10")}},
            "table": lambda: {"rsi": Decimal("55.25"), "macd": None},
            "rows": lambda: [_full(field.inner, index, {}) for index in range(2)],
            "struct": lambda: _full(field.inner, 0, {}),
        }
        by_name = {"symbol": path.get("symbol", SYMBOLS[index]), "interval": "1m", "status": "ok"}
        return by_name[field.name] if field.kind == "text" and field.name in by_name else by_kind[field.kind]()

    return struct(**{field.name: of(field) for field in fields_of(struct)})


def _candle(index: int, path: Mapping[str, str]) -> Candle:
    opened = 1_772_366_400_000 + 60_000 * index * ("symbol" in path)
    return Candle(
        open_time_ms=opened,
        close_time_ms=opened + 59_999,
        symbol=path.get("symbol", SYMBOLS[index]),
        interval="1m",
        open_text="64000.5",
        close_text=f"6410{index}.25",
        high_text="64200.75",
        low_text="63999.125",
        volume_text="12.345678901",
        trades=17 + index,
    )
