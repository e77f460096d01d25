"""What may be sent: the documented bounds and no others, every digit, no exponent, nothing that escapes its place."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from yarl import URL

from alura_async import (
    DEFAULT_ASSETS,
    Access,
    AluraError,
    Assets,
    AsyncAlura,
    Auth,
    ConfigurationError,
    ExecutionStrategy,
    Indicators,
    InvalidArgumentError,
    Leaderboard,
    Request,
    Route,
    StrategyDuration,
    TradingSessions,
    UsdcVerification,
    User,
)
from alura_async.core import arguments

# The vectors of EIP-55 itself: all capitals, all lower, and mixed.
EIP_55 = [
    "0x52908400098527886E0F7030069857D2E4169EE7",
    "0x8617E340B3D01FA5F11F306F4090FD50E238070D",
    "0xde709f2102306220921060314715629080e2fb77",
    "0x27b1fdb04752bbc536007a920d24acb045561c26",
    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
    "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
    "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
]
DESTINATION = EIP_55[4]


def create(**changed: Any) -> Request[Any]:
    """A quick trade of the document's example, with some of it changed."""
    example: dict[str, Any] = {"budget": 100, "profit_target": 40, "asset": 0, "loss_threshold": 5, "max_positions": 3}
    return TradingSessions.create.request(**{**example, **changed})


def sent(request: Request[Any]) -> dict[str, Any]:
    """The body as a server reads it that keeps every digit."""
    assert request.body is not None
    fields: dict[str, Any] = json.loads(request.body, parse_float=Decimal)
    return fields


def written(request: Request[Any], name: str) -> str:
    """A number exactly as it stands in the body."""
    assert request.body is not None
    fields: dict[str, Any] = json.loads(request.body, parse_float=str, parse_int=str)
    text = fields[name]
    assert isinstance(text, str)
    assert f'"{name}":{text}' in request.body.decode(), "a number, not text"
    return text


# The documented rules


def test_the_documented_example_is_sent_as_documented() -> None:
    assert sent(create()) == {
        "budget": 100,
        "profitTarget": 40,
        "lossThreshold": 5,
        "maxPositions": 3,
        "assetIndex": 0,
    }


@pytest.mark.parametrize("budget", [10, 10.0, "10", "10.000", Decimal("10.00"), Decimal("10.0000001"), 1e9])
def test_a_budget_of_10_or_more_is_sent(budget: Any) -> None:
    assert sent(create(budget=budget))["budget"] == Decimal(str(budget))


@pytest.mark.parametrize("budget", [9.999999, "9.99999999999999999999999999", Decimal("9.999999"), 9, 0, -10])
def test_a_budget_below_10_is_refused(budget: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"budget=.* at least 10"):
        create(budget=budget)


@pytest.mark.parametrize("target", [500, 500.0, "500", Decimal("500.000"), 0, -1, "0.0001"])
def test_a_profit_target_up_to_500_is_sent(target: Any) -> None:
    assert sent(create(profit_target=target))["profitTarget"] == Decimal(str(target))


@pytest.mark.parametrize("target", [500.000001, "500.00000000000000000000000001", Decimal("500.01"), 501])
def test_a_profit_target_above_500_is_refused(target: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"profit_target=.* at most 500"):
        create(profit_target=target)


@pytest.mark.parametrize(
    ("changed", "field", "value"),
    [
        ({"loss_threshold": -5}, "lossThreshold", -5),
        ({"loss_threshold": 0}, "lossThreshold", 0),
        ({"loss_threshold": 10_000}, "lossThreshold", 10_000),
        ({"max_positions": 0}, "maxPositions", 0),
        ({"max_positions": -1}, "maxPositions", -1),
        ({"max_positions": 2**63 - 1}, "maxPositions", 2**63 - 1),
        ({"asset": 4_000_000}, "assetIndex", 4_000_000),
        ({"budget": "1e60"}, "budget", 10**60),
    ],
)
def test_no_bound_is_invented(changed: dict[str, Any], field: str, value: int) -> None:
    assert sent(create(**changed))[field] == value


def test_the_amount_of_an_advance_trade_a_withdrawal_and_a_sending_has_no_bound() -> None:
    for amount in (-1, 0, "0.000001", 10**30):
        number = Decimal(str(amount))
        assert sent(TradingSessions.create_advance.request(amount=amount))["amount"] == number
        assert sent(User.withdraw.request(amount=amount))["amount"] == number
        assert sent(User.send_usdc.request(amount=amount, destination=DESTINATION))["amount"] == number


def test_an_advance_trade_takes_the_documented_choices_as_members_or_as_text() -> None:
    for strategy in ("Conservative", "Aggressive", "Degen"):
        for choice in (strategy, ExecutionStrategy(strategy)):
            request = TradingSessions.create_advance.request(execution_strategy=choice)
            assert sent(request) == {"executionStrategy": strategy}
    for duration in ("1D", "3D", "7D", "30D", "90D", "365D"):
        for period in (duration, StrategyDuration(duration)):
            assert sent(TradingSessions.create_advance.request(strategy_duration=period)) == {
                "strategyDuration": duration
            }


@pytest.mark.parametrize("strategy", ["conservative", "DEGEN", "", "Reckless", 1, True])
def test_another_strategy_is_refused_with_the_list_of_those_there_are(strategy: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="execution_strategy") as refused:
        TradingSessions.create_advance.request(execution_strategy=strategy)
    for known in ExecutionStrategy:
        assert known.value in str(refused.value)


@pytest.mark.parametrize("duration", ["1d", "2D", "", 7])
def test_another_duration_is_refused(duration: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="strategy_duration"):
        TradingSessions.create_advance.request(strategy_duration=duration)


@pytest.mark.parametrize("flag", ["false", "true", 0, 1, "yes"])
def test_what_only_looks_like_a_boolean_is_refused(flag: Any) -> None:
    """The text "false" is true in Python, and this one may bet the whole wallet."""
    with pytest.raises(InvalidArgumentError, match="max_wallet_budget"):
        TradingSessions.create_advance.request(max_wallet_budget=flag)


def test_a_boolean_is_sent_as_one() -> None:
    for flag in (True, False):
        assert sent(TradingSessions.create_advance.request(max_wallet_budget=flag))["maxWalletBudget"] is flag


def test_nothing_of_an_advance_trade_is_required() -> None:
    assert sent(TradingSessions.create_advance.request()) == {}


# Numbers


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1, "0.1"),
        (0.1 + 0.2, "0.30000000000000004"),
        (1e-7, "0.0000001"),
        (1e22, "10000000000000000000000"),
        (1.5e-10, "0.00000000015"),
        (3, "3"),
        (12.5, "12.5"),
        ("0.10", "0.10"),
        ("+1.5", "1.5"),
        (".5", "0.5"),
        ("1e3", "1000"),
        ("1E-9", "0.000000001"),
        (Decimal("1E+3"), "1000"),
        (Decimal("1E-7"), "0.0000001"),
        (Decimal("12.3400"), "12.3400"),
        (Decimal("0.1234567890123456789012345678901234567890"), "0.1234567890123456789012345678901234567890"),
        (Decimal("123456789012345678901234567890.12"), "123456789012345678901234567890.12"),
    ],
)
def test_a_number_is_written_with_all_its_digits_and_without_exponent(value: Any, text: str) -> None:
    """A float by its shortest text: 0.1 is 0.1, not 0.1000000000000000055."""
    assert written(User.withdraw.request(amount=value), "amount") == text
    assert written(create(loss_threshold=value), "lossThreshold") == text
    # And in what the user adds of his own.
    if not isinstance(value, str):
        assert written(create(extra={"mine": value}), "mine") == text
        assert TradingSessions.active.request(params={"mine": value}).query == f"mine={text}"


NOT_NUMBERS = [
    math.nan,
    math.inf,
    -math.inf,
    Decimal("NaN"),
    Decimal("sNaN"),
    Decimal("Infinity"),
    "nan",
    "inf",
    "-Infinity",
    True,
    False,
    "abc",
    "",
    " ",
    " 12",
    "12\n",
    "1_000",
    "1,000",
    "0x10",
    "1.2.3",
    "--1",
    ".",
    "e5",
    "１２",
    "٣",
    "½",
    [],
    {},
    b"12",
    1 + 2j,
    ...,
]


@pytest.mark.parametrize("value", NOT_NUMBERS, ids=repr)
@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("budget", lambda value: create(budget=value)),
        ("profit_target", lambda value: create(profit_target=value)),
        ("loss_threshold", lambda value: create(loss_threshold=value)),
        ("amount", lambda value: TradingSessions.create_advance.request(amount=value)),
        ("amount", lambda value: User.withdraw.request(amount=value)),
        ("amount", lambda value: User.send_usdc.request(amount=value, destination=DESTINATION)),
    ],
)
def test_what_is_not_a_finite_number_is_refused_by_name(
    name: str, make: Callable[[Any], Request[Any]], value: Any
) -> None:
    with pytest.raises(InvalidArgumentError, match=rf"^{name}\b"):
        make(value)


@pytest.mark.parametrize("name", ["budget", "profit_target"])
def test_a_required_number_cannot_be_none(name: str) -> None:
    with pytest.raises(InvalidArgumentError, match=rf"^{name}\b"):
        create(**{name: None})
    with pytest.raises(InvalidArgumentError, match=r"^amount\b"):
        User.withdraw.request(amount=None)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [1.5, 3.0, "3", True, Decimal(3)])
def test_a_count_is_a_whole_number(value: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^max_positions\b"):
        create(max_positions=value)


@pytest.mark.parametrize(
    "value", [Decimal("1E+100"), "1e-100", "1e999", 5e-324, 1e300, pytest.param(10**5000, id="int"), "9" * 81]
)
def test_a_number_of_absurd_length_is_refused_and_not_repeated(value: Any) -> None:
    """An exponent is four characters; written out it could fill the memory."""
    with pytest.raises(InvalidArgumentError, match=r"^amount\b") as refused:
        User.withdraw.request(amount=value)
    assert len(str(refused.value)) < 200


def test_a_number_of_80_digits_is_not_of_absurd_length() -> None:
    number = Decimal("0." + "1" * 79)
    assert Decimal(written(User.withdraw.request(amount=number), "amount")) == number


finite_decimals = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**30), max_value=10**30).filter(
    lambda number: len(number.as_tuple().digits) + abs(int(number.as_tuple().exponent)) <= 80
)


@given(finite_decimals)
@example(Decimal("1E+30"))
@example(Decimal("1E-40"))
@example(Decimal("-0"))
def test_any_decimal_arrives_exactly(number: Decimal) -> None:
    request = User.withdraw.request(amount=number)
    text = written(request, "amount")
    assert Decimal(text) == number
    assert "e" not in text.lower()


@given(st.floats(min_value=10, max_value=1e60), st.floats(min_value=-1e30, max_value=500))
def test_any_float_arrives_as_the_same_float_and_by_its_shortest_text(budget: float, target: float) -> None:
    if abs(target) < 1e-40:
        target = 0.0  # nobody's target, and too long when written out
    request = create(budget=budget, profit_target=target)
    for field, number in (("budget", budget), ("profitTarget", target)):
        text = written(request, field)
        assert float(text) == number
        assert Decimal(text) == Decimal(repr(number))
        assert "e" not in text.lower()


# What is left out, and who has the last word


def test_none_is_never_sent_in_a_body() -> None:
    request = create(loss_threshold=None, max_positions=None, extra={"note": None, "deep": {"a": None, "b": 1}})
    assert sent(request) == {"budget": 100, "profitTarget": 40, "assetIndex": 0, "deep": {"b": 1}}
    assert b"null" not in (request.body or b"")


def test_none_is_never_sent_in_a_query() -> None:
    assert Indicators.candle_history.request("BTC", limit=None, params={"a": None}).query == ""
    assert TradingSessions.trade_logs.request("t", page=2, limit=None).query == "page=2"


def test_extra_has_the_last_word_in_a_body() -> None:
    request = create(extra={"budget": 7, "profitTarget": "501", "leverage": 3, "lossThreshold": None})
    assert sent(request) == {
        "budget": 7,
        "profitTarget": "501",
        "leverage": 3,
        "maxPositions": 3,
        "assetIndex": 0,
    }


def test_params_have_the_last_word_in_a_query() -> None:
    request = TradingSessions.trade_logs.request("t", page=1, limit=5, params={"limit": 50, "page": None, "sort": "up"})
    assert request.query == "limit=50&sort=up"


def test_extra_takes_every_json_value() -> None:
    extra = {
        "text": 'a "quoted" ü',
        "yes": True,
        "list": [1, "two", Decimal("3.0"), {"four": 4.5}],
        "strategy": ExecutionStrategy.DEGEN,
        "when": datetime(2024, 1, 1, tzinfo=UTC),
    }
    assert sent(User.claim_reward.request(extra=extra)) == {
        "text": 'a "quoted" ü',
        "yes": True,
        "list": [1, "two", Decimal("3.0"), {"four": Decimal("4.5")}],
        "strategy": "Degen",
        "when": 1_704_067_200_000,
    }


def test_params_take_text_numbers_booleans_times_and_lists() -> None:
    params = {
        "text": "a b&c=d/ü",
        "number": 1.5,
        "yes": True,
        "no": False,
        "when": datetime(2024, 1, 1, tzinfo=UTC),
        "many": ["a", "b"],
        "strategy": ExecutionStrategy.DEGEN,
        "a b": 1,
    }
    assert TradingSessions.active.request(params=params).query == (
        "text=a%20b%26c%3Dd%2F%C3%BC&number=1.5&yes=true&no=false&when=1704067200000&many=a&many=b&strategy=Degen"
        "&a%20b=1"
    )


@pytest.mark.parametrize("value", [..., {1}, b"bytes", math.nan, 1j, datetime(2024, 1, 1)], ids=repr)
def test_what_cannot_be_written_is_refused_by_its_name(value: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="mine"):
        User.claim_reward.request(extra={"mine": value})
    with pytest.raises(InvalidArgumentError, match="mine"):
        TradingSessions.active.request(params={"mine": value})


@pytest.mark.parametrize("extra", [{"a": "\ud800"}, {"\ud800": 1}, {"a": {"b": ["\ud800"]}}])
def test_text_that_is_no_unicode_is_refused_in_a_body(extra: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError):
        User.claim_reward.request(extra=extra)


@pytest.mark.parametrize(
    "params",
    [
        {"a": "\ud800"},
        {"\ud800": 1},
    ],
)
def test_text_that_is_no_unicode_is_refused_in_a_query(params: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError):
        TradingSessions.active.request(params=params)


def test_the_name_of_a_parameter_is_text() -> None:
    with pytest.raises(InvalidArgumentError, match="params: 1"):
        TradingSessions.active.request(params={1: "x"})  # type: ignore[dict-item]


# Addresses


@pytest.mark.parametrize("address", EIP_55)
def test_an_address_with_a_right_checksum_or_in_one_case_is_sent_as_given(address: str) -> None:
    assert sent(Auth.challenge.request(address))["address"] == address
    assert sent(User.send_usdc.request(amount=1, destination=address))["destination"] == address
    assert sent(User.withdraw.request(amount=1, destination=address))["destination"] == address


def test_an_address_all_lower_or_all_upper_has_no_checksum_to_check() -> None:
    for vector in EIP_55:
        for digits in (vector[2:].lower(), vector[2:].upper()):
            assert sent(Auth.challenge.request("0x" + digits))["address"] == "0x" + digits


@pytest.mark.parametrize("address", EIP_55[4:])
def test_one_capital_too_many_is_refused(address: str) -> None:
    at = next(index for index, letter in enumerate(address) if index > 1 and letter.isalpha())
    mistyped = address[:at] + address[at].swapcase() + address[at + 1 :]
    with pytest.raises(InvalidArgumentError, match=r"destination=.*checksum"):
        User.send_usdc.request(amount=1, destination=mistyped)


@given(st.integers(min_value=2, max_value=41), st.sampled_from("0123456789abcdefABCDEF"), st.sampled_from(EIP_55[4:]))
def test_a_mistyped_digit_of_a_mixed_case_address_is_refused(at: int, digit: str, address: str) -> None:
    mistyped = address[:at] + digit + address[at + 1 :]
    if mistyped == address:
        assert sent(Auth.challenge.request(address))["address"] == address
        return
    with pytest.raises(InvalidArgumentError, match=r"^address="):
        Auth.challenge.request(mistyped)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "0x",
        DESTINATION[2:],
        DESTINATION[:-1],
        DESTINATION + "0",
        " " + DESTINATION,
        DESTINATION + "\n",
        "0x" + "g" * 40,
        "0x" + "０" * 40,
        "vitalik.eth",
        None,
        0x5AAEB6053F3E94C9B9A09F33669435E7EF1BEAED,
        DESTINATION.encode(),
    ],
)
def test_what_is_no_address_is_refused(address: Any) -> None:
    for make in (
        lambda: Auth.challenge.request(address),
        lambda: User.send_usdc.request(amount=1, destination=address),
    ):
        with pytest.raises(InvalidArgumentError, match=r"(address|destination)=.*40 hex digits"):
            make()


# Path segments


@pytest.mark.parametrize(
    ("segment", "path"),
    [
        ("BTC", "BTC"),
        ("kPEPE", "kPEPE"),
        ("PURR/USDC", "PURR%2FUSDC"),
        ("a b", "a%20b"),
        ("a+b", "a%2Bb"),
        ("?x=1", "%3Fx%3D1"),
        ("#top", "%23top"),
        ("%2e%2e", "%252e%252e"),
        ("%2F", "%252F"),
        ("a..b", "a..b"),
        ("...", "..."),
        ("..a", "..a"),
        ("a\\b", "a%5Cb"),
        ("a;b", "a%3Bb"),
        ("@107", "%40107"),
        ("ü", "%C3%BC"),
        ("比特币", "%E6%AF%94%E7%89%B9%E5%B8%81"),
        ("🚀", "%F0%9F%9A%80"),
        ("6650-ab_c~d.e", "6650-ab_c~d.e"),
    ],
)
def test_a_segment_stays_in_its_place(segment: str, path: str) -> None:
    assert Indicators.candles.request(segment, "1m").path == f"/api/indicators/candles/{path}/1m"
    assert Indicators.candles.request("BTC", segment).path == f"/api/indicators/candles/BTC/{path}"
    assert Leaderboard.user.request(segment).path == f"/api/leaderboard/user/{path}"
    assert TradingSessions.close_trade.request(segment).path == f"/trading-sessions/trades/{path}/close"


@pytest.mark.parametrize(
    "segment", ["", ".", "..", "a\r\nb", "a\nb", "\t", "\x00", "a\x7f", "\x85", "\ud800", None, True, 1.5, b"BTC", []]
)
def test_what_would_name_another_path_is_refused(segment: Any) -> None:
    """aiohttp drops a line break from a path silently, so that another path would be called."""
    with pytest.raises(InvalidArgumentError, match="cannot be part of a path"):
        Indicators.candles.request(segment, "1m")
    with pytest.raises(InvalidArgumentError, match="cannot be part of a path"):
        TradingSessions.close_trade.request(segment)


@given(st.text(min_size=1))
@example("..")
@example("%2e%2e/%2F")
@example("//")
@example("\\..\\")
@example("\u202e")
def test_no_text_adds_or_removes_a_level_of_a_path(segment: str) -> None:
    route: Route[dict[str, Any]] = Route("GET", "/a/:b/c", dict, access=Access.PUBLIC)
    try:
        path = route.request(segment).path
    except InvalidArgumentError:
        assert segment in (".", "..") or any(
            ord(character) < 32 or 127 <= ord(character) < 160 or 0xD800 <= ord(character) < 0xE000
            for character in segment
        )
        return
    url = URL.build(scheme="https", host="example.com", path=path, encoded=True)
    assert url.raw_path == path
    assert url.raw_path.count("/") == 3
    assert url.raw_query_string == ""
    assert url.raw_fragment == ""
    assert url.parts[2] == segment
    assert path.isascii()
    assert path.isprintable()


# Text


@pytest.mark.parametrize("value", ["", "  ", "a\nb", "a\x00", "\u202eabc", "a\u200bb", None, 5, b"code"])
def test_text_is_not_empty_and_has_nothing_invisible(value: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^tx_hash="):
        UsdcVerification.verify.request(value)
    with pytest.raises(InvalidArgumentError, match=r"^signature="):
        Auth.verify.request(DESTINATION, value)


# Times


def test_a_time_is_sent_in_exact_milliseconds() -> None:
    start = datetime(2024, 2, 29, 12, 30, 45, 123_000, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    request = Indicators.candle_history.request("BTC", interval="1m", start=start, end=1_700_000_000_000)
    assert request.query == "interval=1m&startTime=1709190045123&endTime=1700000000000"


@given(st.integers(min_value=-62_135_596_800_000, max_value=253_402_300_799_999))
@example(1_096_472_385_715)
@example(543_167_868_828)
def test_every_millisecond_survives(instant: int) -> None:
    """A float of seconds loses the last one now and then."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=instant)
    assert arguments.milliseconds("start", moment) == instant
    assert arguments.milliseconds("start", instant) == instant


@pytest.mark.parametrize("name", ["start", "end"])
def test_a_time_without_a_zone_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgumentError, match=rf"^{name}=.*zone"):
        Indicators.candle_history.request("BTC", **{name: datetime(2024, 1, 1)})  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["2024-01-01", 1.7e12, True, Decimal(1)])
def test_a_time_is_a_datetime_or_whole_milliseconds(value: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^start="):
        Indicators.candle_history.request("BTC", start=value)


# Assets


@pytest.mark.parametrize(
    ("asset", "index"),
    [
        ("BTC", 0),
        ("ETH", 1),
        ("SOL", 2),
        ("XRP", 3),
        ("DOGE", 4),
        ("AVAX", 5),
        ("btc", 0),
        ("Doge", 4),
        (0, 0),
        (99, 99),
    ],
)
def test_an_asset_is_a_documented_symbol_in_any_case_or_an_index(asset: str | int, index: int) -> None:
    assert DEFAULT_ASSETS.index(asset) == index
    assert sent(create(asset=asset))["assetIndex"] == index
    assert sent(User.close_position.request(asset=asset)) == {"assetIndex": index}
    assert sent(TradingSessions.create_advance.request(asset=asset)) == {"assetIndex": index}


def test_an_unknown_symbol_is_refused_with_what_to_do_about_it() -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        create(asset="PEPE")
    text = str(refused.value)
    for part in ("'PEPE'", "BTC, ETH, SOL, XRP, DOGE, AVAX", "give its index", "assets="):
        assert part in text


@pytest.mark.parametrize("asset", [-1, True, False, 1.0, None, "", b"BTC", Decimal(1)])
def test_what_is_neither_symbol_nor_index_is_refused(asset: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^asset="):
        create(asset=asset)


def test_a_table_of_ones_own_replaces_the_documented_one() -> None:
    table = Assets({"BTC": 3, "kPEPE": 15})
    assert (table.index("btc"), table.index("KPEPE"), table.index(7)) == (3, 15, 7)
    with pytest.raises(InvalidArgumentError, match="ETH"):
        table.index("ETH")
    assert dict(table) == {"BTC": 3, "kPEPE": 15}


def test_a_table_is_not_changed_from_outside() -> None:
    given = {"BTC": 3}
    table = Assets(given)
    given["BTC"] = 4
    assert table.index("BTC") == 3


def test_a_symbol_that_fits_two_must_be_written_exactly() -> None:
    table = Assets({"kPEPE": 1, "KPEPE": 2})
    assert (table.index("kPEPE"), table.index("KPEPE")) == (1, 2)
    with pytest.raises(InvalidArgumentError, match="kPEPE and KPEPE"):
        table.index("kpepe")


@pytest.mark.parametrize("table", [{"BTC": -1}, {"BTC": True}, {"BTC": "0"}, {"BTC": 1.0}, {1: 1}])
def test_a_table_that_cannot_be_used_is_refused(table: Any) -> None:
    with pytest.raises(ConfigurationError, match="assets"):
        AsyncAlura(assets=table)


def test_with_options_changes_the_table_of_one_view_only() -> None:
    alura = AsyncAlura()
    assert alura.with_options(assets={"BTC": 8}).assets.index("BTC") == 8
    assert alura.assets is DEFAULT_ASSETS


def test_a_refused_argument_is_both_ours_and_a_value_error() -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        create(budget=1)
    assert isinstance(refused.value, AluraError)
    assert isinstance(refused.value, ValueError)
