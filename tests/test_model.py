"""What a response type is: unchangeable, comparable, picklable, and careful about what it shows."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import alura_async
from alura_async import (
    Candle,
    Challenge,
    CloseSignature,
    FillSide,
    LogEntry,
    Page,
    Position,
    PositionSide,
    Profile,
    Secret,
    SessionStatus,
    SignalAction,
    SignIn,
    Trade,
    TradingKey,
    TradingSession,
    TransferStatus,
)
from alura_async.core.decode import Shape
from alura_async.core.model import Model, OpenEnum, from_milliseconds
from alura_async.secret import SecretBytes, SecretText


def fit(value: Any, returns: Any) -> Any:
    """A body of another shape than the exact one."""
    return Shape[Any](returns, "/").read(value, {}, {})


MODELS = {
    name: found
    for name in alura_async.__all__
    if isinstance(found := getattr(alura_async, name), type) and issubclass(found, Model)
}
ENUMS: list[type[OpenEnum]] = [SessionStatus, PositionSide, SignalAction, FillSide, TransferStatus]

SESSION = fit(
    {
        "id": "s1",
        "status": "liquidated",
        "budget": Decimal("1.50"),
        "createdAt": "2024-05-01T12:00:00Z",
        "walletSecret": "s3cret",
        "z": {"deep": [Decimal("1.10")]},
    },
    TradingSession,
)
TRADE = Trade(id="t1", status=SessionStatus.ACTIVE, positions=[Position(id="p1", size=Decimal("0.5"))])


# Every model


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_a_response_type_cannot_be_changed(model: type[Model]) -> None:
    assert model.__struct_config__.frozen


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_a_response_type_explains_each_field_and_says_what_is_documented(model: type[Model]) -> None:
    text = model.__doc__ or ""
    assert "[doc]" in text or "[conv]" in text or "[guess]" in text
    for name in model.__struct_fields__:
        if name != "_extra":
            assert f"    {name}: " in text, f"{model.__name__} does not explain {name}"


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_what_is_not_documented_is_optional_except_what_a_thing_is_known_by(model: type[Model]) -> None:
    required = {field.name for field in msgspec.structs.fields(model) if field.required}
    allowed = {
        Challenge: {"address", "nonce", "message"},
        SignIn: {"access_token"},
        # Of those two, exact decoding must know that they are there; they may be null.
        Candle: {"open_time_ms", "open_text", "close_text", "high_text", "low_text", "symbol", "interval"},
        Page: {"data"},
        Position: {"id"},
        Trade: {"id"},
        TradingSession: {"id"},
    }
    assert required <= allowed.get(model, set())


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_fields_are_camel_case_on_the_wire(model: type[Model]) -> None:
    for field in msgspec.structs.fields(model):
        if model is Candle or field.name == "_extra":
            continue
        first, *rest = field.name.split("_")
        assert field.encode_name == first + "".join(word.title() for word in rest)


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_amounts_are_decimals_and_times_know_their_zone(model: type[Model]) -> None:
    for field in msgspec.structs.fields(model):
        inner = str(field.type)
        is_amount = field.name.endswith(("price", "pnl", "amount", "budget", "balance", "volume", "fee", "margin"))
        if is_amount and field.name != "max_wallet_budget":
            assert "Decimal" in inner, f"{model.__name__}.{field.name}"
        if field.name.endswith(("_at", "timestamp")):
            assert "tz=True" in inner, f"{model.__name__}.{field.name}"


# Values


@pytest.mark.parametrize(
    "value", [SESSION, TRADE, Page(data=[LogEntry(id="1")], total=1)], ids=["session", "trade", "page"]
)
@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_a_value_can_be_copied_and_pickled_with_what_is_unknown(value: Model, again: Any) -> None:
    twin = again(value)
    assert type(twin) is type(value)
    assert twin == value
    assert twin.extra == value.extra
    assert repr(twin) == repr(value)


def test_values_are_equal_when_all_their_fields_are_the_unknown_included() -> None:
    assert fit({"id": "s1", "new": 1}, TradingSession) == fit({"new": 1, "id": "s1"}, TradingSession)
    assert fit({"id": "s1", "new": 1}, TradingSession) != fit({"id": "s1", "new": 2}, TradingSession)
    assert fit({"id": "s1", "new": 1}, TradingSession) != TradingSession(id="s1")
    position: Model = Position(id="x")
    assert position != TradingSession(id="x")


def test_a_value_cannot_be_changed_nor_what_is_unknown() -> None:
    with pytest.raises(AttributeError):
        SESSION.status = SessionStatus.CLOSED
    with pytest.raises(TypeError):
        SESSION.extra["z"] = 1
    with pytest.raises(TypeError):
        TradingSession(id="s1").extra["z"] = 1  # type: ignore[index]


def test_a_changed_copy_keeps_what_is_unknown() -> None:
    closed = msgspec.structs.replace(SESSION, status=SessionStatus.CLOSED)
    assert closed.is_closed
    assert closed.extra == SESSION.extra


def test_fields_are_given_by_name_only() -> None:
    with pytest.raises(TypeError):
        TradingSession("s1")  # type: ignore[call-arg, arg-type]


@pytest.mark.parametrize(
    ("session", "is_closed"),
    [
        (TradingSession(id="s"), False),
        (TradingSession(id="s", status=SessionStatus.ACTIVE), False),
        (TradingSession(id="s", status=SessionStatus.CLOSING), False),
        (TradingSession(id="s", status=SessionStatus("stopped")), False),
        (TradingSession(id="s", status=SessionStatus("CLOSED")), True),
        (TradingSession(id="s", closed_at=datetime(2024, 1, 1, tzinfo=UTC)), True),
        (TradingSession(id="s", status=SessionStatus("stopped"), closed_at=datetime(2024, 1, 1, tzinfo=UTC)), True),
        (TradingSession(id="s", status=SessionStatus.ACTIVE, closed_at=datetime(2024, 1, 1, tzinfo=UTC)), False),
        (TradingSession(id="s", status=SessionStatus("Open"), closed_at=datetime(2024, 1, 1, tzinfo=UTC)), False),
        (TradingSession(id="s", status=SessionStatus.CLOSING, closed_at=datetime(2024, 1, 1, tzinfo=UTC)), False),
        (TradingSession(id="s", closed_at=datetime(2190, 1, 1, tzinfo=UTC)), False),
        (TradingSession(id="s", status=SessionStatus.CLOSED, closed_at=datetime(2190, 1, 1, tzinfo=UTC)), True),
    ],
)
def test_a_session_is_closed_when_it_reads_so(session: TradingSession, is_closed: bool) -> None:
    assert session.is_closed is is_closed


# What is shown


def test_a_value_shows_what_it_has_and_only_the_names_of_what_is_unknown() -> None:
    assert repr(SESSION) == (
        "TradingSession(id='s1', status=<SessionStatus: 'liquidated'>, budget=Decimal('1.50'), "
        "created_at=datetime.datetime(2024, 5, 1, 12, 0, tzinfo=datetime.timezone.utc), extra: walletSecret, z)"
    )
    assert str(SESSION) == repr(SESSION)
    assert "s3cret" not in repr(SESSION)
    assert "s3cret" not in repr(Page(data=[SESSION]))
    assert repr(TradingSession(id="s1", status=SessionStatus.CLOSED)) == (
        "TradingSession(id='s1', status=<SessionStatus.CLOSED: 'closed'>)"
    )


@pytest.mark.parametrize(
    "value",
    [
        SignIn(ok=True, access_token=Secret("s3cret")),
        TradingKey(address="0x1", private_key=Secret("s3cret")),
        CloseSignature(transaction=Secret("s3cret"), signature=Secret("s3cret")),
        fit({"accessToken": "s3cret", "refreshToken": "s3cret"}, SignIn),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_secret_is_never_shown(value: Model) -> None:
    for shown in (repr(value), str(value), f"{value}", repr([value])):
        assert "s3cret" not in shown
        assert "***" in shown


@pytest.mark.parametrize("text", ["\x1b[31mred", "line\nforged", "\u202ecba"], ids=ascii)
def test_an_unknown_status_does_not_move_a_cursor(text: str) -> None:
    session = fit({"id": "s1", "status": text}, TradingSession)
    assert session.status == text
    assert repr(session).isprintable()


@pytest.mark.parametrize("name", ["\x1b[31mred", "line\nforged", "\u202ecba"], ids=ascii)
def test_the_name_of_an_unknown_field_does_not_move_a_cursor(name: str) -> None:
    assert repr(fit({"id": "s1", name: 1}, TradingSession)).isprintable()


# Secrets


def test_a_secret_shows_itself_only_when_asked_by_name() -> None:
    secret = Secret("s3cret")
    assert secret.reveal() == "s3cret"
    for shown in (repr(secret), str(secret), f"{secret}", f"{secret:>20}", f"{secret!r}", repr([secret])):
        assert "s3cret" not in shown
        assert "***" in shown
    assert f"{secret:>6}" == "   ***"


def test_secrets_are_compared_by_what_they_hide() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2
    assert hash(Secret("a")) != hash("a")
    assert bool(Secret("a"))
    assert not Secret("")


def test_a_secret_is_not_pickled_nor_is_what_holds_one() -> None:
    for value in (Secret("s3cret"), SignIn(access_token=Secret("s3cret")), [Secret("s3cret")]):
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            with pytest.raises(TypeError, match="Secret is not pickled"):
                pickle.dumps(value, protocol)


def test_a_secret_is_not_written_as_json() -> None:
    for value in (Secret("s3cret"), SignIn(access_token=Secret("s3cret"))):
        with pytest.raises(TypeError):
            msgspec.json.encode(value)


def test_a_secret_stays_itself_in_a_deep_copy() -> None:
    held = SignIn(access_token=Secret("s3cret"))
    assert copy.deepcopy(held).access_token is held.access_token


def test_a_secret_cannot_be_looked_into_by_habit() -> None:
    with pytest.raises(TypeError):
        vars(Secret("s3cret"))
    with pytest.raises(TypeError):
        len(Secret("s3cret"))  # type: ignore[arg-type]


def test_text_and_bytes_that_must_be_plain_show_nothing_as_values() -> None:
    text, data = SecretText("s3cret"), SecretBytes(b"s3cret")
    assert text == "s3cret"
    assert f"Bearer {text}" == "Bearer s3cret"
    assert data == b"s3cret"
    for value in (text, data, {"Authorization": text}, [data]):
        assert "s3cret" not in repr(value)
        assert b"s3cret" not in pickle.dumps(value)
        assert copy.deepcopy(value) == value
    assert "s3cret" not in str(data)


# Open enumerations


@pytest.mark.parametrize("kind", ENUMS)
def test_known_values_are_members_in_any_case(kind: type[OpenEnum]) -> None:
    for member in kind:
        for text in (member.value, member.value.upper(), member.value.title()):
            assert kind(text) is member
        assert member.is_known
        assert member == member.value


@pytest.mark.parametrize("kind", ENUMS)
@given(text=st.text(max_size=12))
def test_any_other_text_is_a_value_of_its_own_equal_to_the_text(kind: type[OpenEnum], text: str) -> None:
    known = {member.value.casefold() for member in kind} | set(kind._synonyms())
    value = kind(text)
    assert isinstance(value, kind)
    assert value.is_known == (text.casefold() in known)
    if not value.is_known:
        assert value == text
        assert str(value) == value.value == text
        assert hash(value) == hash(text)
        assert value == kind(text)
        assert {text: 1}[value] == 1


@pytest.mark.parametrize("kind", ENUMS)
@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_an_unknown_value_can_be_copied_and_pickled(kind: type[OpenEnum], again: Any) -> None:
    twin = again(kind("something new"))
    assert type(twin) is kind
    assert twin == "something new"
    assert not twin.is_known


@pytest.mark.parametrize("kind", ENUMS)
def test_unknown_values_do_not_add_up(kind: type[OpenEnum]) -> None:
    before = list(kind)
    for number in range(50):
        kind(f"new {number}")
    assert list(kind) == before


@pytest.mark.parametrize("value", [None, 1, 1.5, b"closed", ["closed"]])
def test_what_is_no_text_is_no_value(value: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        SessionStatus(value)


# Candles and times


def test_a_candle_converts_what_the_wire_had_when_asked() -> None:
    candle = Candle(
        open_time_ms=1_700_000_000_123,
        close_time_ms=1_700_000_059_999,
        symbol="BTC",
        interval="1m",
        open_text="61000.10",
        close_text=61000,
        high_text=61000.5,
        low_text="6.1e4",
        volume_text="0.00000001",
        trades=12,
    )
    assert candle.open == Decimal("61000.10")
    assert str(candle.open) == "61000.10"
    assert candle.close == 61000
    assert candle.high == Decimal("61000.5")
    assert candle.low == 61000
    assert candle.volume == Decimal("0.00000001")
    assert candle.open_time == datetime(2023, 11, 14, 22, 13, 20, 123_000, tzinfo=UTC)
    assert candle.close_time == datetime(2023, 11, 14, 22, 14, 19, 999_000, tzinfo=UTC)


def test_a_candle_without_volume_or_end_has_none() -> None:
    candle = Candle(
        symbol=None, interval=None, open_time_ms=0, open_text="1", close_text="1", high_text="1", low_text="1"
    )
    assert (candle.volume, candle.close_time, candle.symbol) == (None, None, None)
    assert candle.open_time == datetime(1970, 1, 1, tzinfo=UTC)


@given(st.floats(min_value=1e-9, max_value=1e12))
def test_a_price_that_came_as_a_number_is_its_shortest_text(price: float) -> None:
    candle = Candle(
        symbol=None, interval=None, open_time_ms=0, open_text=price, close_text=price, high_text=price, low_text=price
    )
    assert candle.open == Decimal(repr(price))


@given(st.integers(min_value=-62_135_596_800_000, max_value=253_402_300_799_999))
def test_milliseconds_become_an_aware_time_exactly(instant: int) -> None:
    moment = from_milliseconds(instant)
    assert moment.tzinfo is UTC
    assert (moment - datetime(1970, 1, 1, tzinfo=UTC)) == timedelta(milliseconds=instant)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-05-01T12:00:00Z", datetime(2024, 5, 1, 12, tzinfo=UTC)),
        ("2024-05-01T12:00:00.123456Z", datetime(2024, 5, 1, 12, 0, 0, 123_456, tzinfo=UTC)),
        ("2024-05-01T14:00:00+02:00", datetime(2024, 5, 1, 12, tzinfo=UTC)),
    ],
)
def test_a_time_on_the_wire_is_aware(text: str, moment: datetime) -> None:
    for body in ({"id": "u", "createdAt": text}, {"id": "u", "createdAt": text, "new": 1}):
        created_at = fit(body, Profile).created_at
        assert created_at == moment
        assert created_at.utcoffset() is not None


def test_a_time_without_a_zone_is_in_utc() -> None:
    for text in ("2024-05-01T12:00:00", "2024-05-01 12:00:00"):
        assert fit({"id": "u", "createdAt": text}, Profile).created_at == datetime(2024, 5, 1, 12, tzinfo=UTC)
