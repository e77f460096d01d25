"""When which fault happens: rules, the calls that they are for, and the line of text that says a rule.

`503 x2 on POST /user/withdraw` · `reset-after 5% on POST /*` · `delay=250ms 10%` · `429|500|hang 5%; hang skip 3 x1`

A rule begins with what may go wrong, one or several of the words of `faults`, of which one is drawn. Then come, in any
order and all of them optional, how often at most (`x2`), with which probability (`5%`), how many calls are let by first
(`skip 3`), and for which calls (`on …`). Several rules are separated by `;`.
"""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from functools import lru_cache
from types import TracebackType
from typing import Self

from ..errors import ConfigurationError
from . import chance
from .faults import CLOSED, WORDS, Fault, percent, percent_text, pieces
from .routing import ServerRoute

MOST = 1_000_000_000
"""How often a rule may fire, and how many calls it may let by."""

_MOST_RULES = 1000
_LONGEST_TEXT = 100_000
_CALL = re.compile(r"(?:([A-Z]+|\*)\s+)?(/[^\s;\"]*|\*)", re.ASCII)
_PARAMETER = re.compile(r":\w+|\{\w+\}", re.ASCII)
# What varies in a template, while it is compared with a pattern: no path holds it.
_SEGMENT = "\0"


class Rule:
    """A fault, or several of which one is drawn, with the calls that it is for. Made by `Faults.add`.

    As a context manager it is removed at the end of the block. `str` gives it as text that can be read again.

    Attributes:
        number: its place among all rules that this sandbox was ever given, from 1.
        faults: what may go wrong.
        on: for which calls.
        times: how often it fires before it rests, or None for always.
        probability: how likely it is to fire, 0 to 1.
        skip: how many matching calls it lets by first.
    """

    def __init__(
        self,
        owner: Faults,
        number: int,
        faults: tuple[Fault, ...],
        calls: _Calls,
        times: int | None,
        probability: float,
        skip: int,
    ) -> None:
        self.number = number
        self.faults = faults
        self.on = calls.pattern
        self.times = times
        self.probability = probability
        self.skip = skip
        self._owner = owner
        self._calls = calls
        self._matched = 0
        self._hits = 0

    @property
    def matched(self) -> int:
        """How many calls it was for, whether it fired or not; calls that an earlier rule hit do not count."""
        return self._matched

    @property
    def hits(self) -> int:
        """How often it fired."""
        return self._hits

    def remove(self) -> None:
        """Take it away. Calls that it hit already go on as they are; twice is harmless."""
        self._owner.remove(self)

    def draw(self, seed: int, route: ServerRoute, path: str) -> Fault | None:
        """What goes wrong with a call, if anything: it depends on seed, rule and the number of the matching call."""
        if not self._calls.meet(route, path):
            return None
        self._matched += 1
        if self._matched <= self.skip or (self.times is not None and self._hits >= self.times):
            return None
        place = (seed, self.number, self._matched)
        if self.probability < 1 and chance.fraction("fault", *place) >= self.probability:
            return None
        self._hits += 1
        return self.faults[chance.whole(0, len(self.faults) - 1, "which", *place) if len(self.faults) > 1 else 0]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def __str__(self) -> str:
        words = ["|".join(map(str, self.faults))]
        if self.times is not None:
            words.append(f"x{self.times}")
        if self.probability < 1:
            words.append(percent_text(self.probability))
        if self.skip:
            words.append(f"skip {self.skip}")
        if self.on != "*":
            words.append(f"on {self.on}")
        return " ".join(words)

    def __repr__(self) -> str:
        return f"<Rule {self.number}: {self}, {self._hits} of {self._matched} calls hit>"


class Faults:
    """The rules of a sandbox, in the order they were added: of those a call matches, the first that fires wins.

    Safe from any thread.

    Args:
        seed: what makes the draws of one sandbox different from another's.
        routes: the endpoints of the API.
        others: what is served besides, which is hit only when it is named.
    """

    def __init__(self, seed: int, routes: Sequence[ServerRoute], others: Sequence[ServerRoute]) -> None:
        self._seed = seed
        self._routes = routes
        self._others = others
        self._lock = threading.Lock()
        self._rules: tuple[Rule, ...] = ()
        self._added = 0

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules there are, in the order they are asked."""
        return self._rules

    def add(
        self,
        fault: str | Fault | Sequence[Fault],
        *,
        on: str | None = None,
        times: int | None = None,
        probability: float | None = None,
        skip: int | None = None,
    ) -> Rule:
        """Let something go wrong from now on.

            sandbox.faults.add("503 x2 on POST /user/withdraw")
            with sandbox.faults.add(Fault.reset(when="after"), on="POST /*", probability=0.05): ...

        Args:
            fault: what, or several of which one is drawn each time; or the text of one rule, which may say all else.
            on: for which calls: `POST /trading-sessions`, a template or a path, with `*` for any characters; without a
                method, any. `*`, as by default, is every endpoint of the API. The description under `/api/docs` is hit
                only when it is named.
            times: how often it fires before it rests; by default it never does.
            probability: how likely it is to fire, 0 to 1; by default it always does. The draws depend on the sandbox's
                seed, on the rule's number and on how many calls matched it before, so that the same calls meet the
                same faults: a rule that is added earlier than another time has another number, and other draws.
            skip: how many matching calls it lets by first; by default none.

        Raises:
            ConfigurationError: it cannot be read, no call can match it, or the text says what is said here too.
        """
        given = {"on": on, "times": times, "probability": probability, "skip": skip}
        said: dict[str, object] = {name: value for name, value in given.items() if value is not None}
        if isinstance(fault, str):
            lines = list(_lines(fault))
            if len(lines) != 1:
                raise ConfigurationError(f"{fault!r}: give one rule here; add_all takes several")
            spec = _read(fault, *lines[0])
            twice = spec.said & said.keys()
            if twice:
                name = min(twice)
                raise ConfigurationError(f"{name}={said[name]!r}, but the text says it too: {fault!r}")
        else:
            # Of what is neither, the check says what it should be.
            spec = _Spec(tuple(fault) if isinstance(fault, Iterable) else (fault,))
        for name, value in said.items():
            setattr(spec, name, value)
        return self._put([spec])[0]

    def add_all(self, text: str) -> list[Rule]:
        """Add rules from text, separated by `;`: all of them, or none if one is wrong.

        Raises:
            ConfigurationError: the text cannot be read; the message points at the place.
        """
        return self._put([_read(text, start, line) for start, line in _lines(text)])

    def clear(self) -> None:
        """Take all rules away. Calls that were hit already go on as they are."""
        with self._lock:
            self._rules = ()

    def remove(self, rule: Rule) -> None:
        """Take one rule away; twice is harmless."""
        with self._lock:
            self._rules = tuple(other for other in self._rules if other is not rule)

    def draw(self, route: ServerRoute, path: str) -> Fault | None:
        """What goes wrong with a call, if anything."""
        with self._lock:
            for rule in self._rules:
                fault = rule.draw(self._seed, route, path)
                if fault is not None:
                    return fault
        return None

    def _put(self, specs: list[_Spec]) -> list[Rule]:
        checked = [(*spec.check(), self._calls(spec)) for spec in specs]
        with self._lock:
            if len(self._rules) + len(checked) > _MOST_RULES:
                raise ConfigurationError(f"more than {_MOST_RULES} rules: remove some, or clear()")
            new = [
                Rule(self, self._added + place, faults, calls, times, probability, skip)
                for place, (faults, times, probability, skip, calls) in enumerate(checked, 1)
            ]
            self._added += len(new)
            self._rules += tuple(new)
        return new

    def _calls(self, spec: _Spec) -> _Calls:
        try:
            return _Calls(spec.on, self._routes, self._others)
        except ConfigurationError as error:
            raise _wrong(*spec.place, str(error)) if spec.place is not None else error from None

    def __repr__(self) -> str:
        return f"<Faults {'; '.join(map(str, self._rules)) or 'none'}>"


class _Spec:
    """A rule as it was asked for, whether it makes sense or not."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        self.faults = faults
        self.on: object = "*"
        self.times: object = None
        self.probability: object = 1.0
        self.skip: object = 0
        # What a text says besides the faults.
        self.said: set[str] = set()
        # In a text, where it says `on`: the text, the place, the length.
        self.place: tuple[str, int, int] | None = None

    def check(self) -> tuple[tuple[Fault, ...], int | None, float, int]:
        """What it asks for, if that makes sense."""
        if not self.faults or not all(isinstance(fault, Fault) for fault in self.faults):
            raise ConfigurationError(f"{self.faults!r}: give faults, such as Fault.status(503), or text such as '503'")
        times = None if self.times is None else _count(self.times, "times", 1)
        probability = self.probability
        if isinstance(probability, bool) or not isinstance(probability, int | float) or not 0 <= probability <= 1:
            raise ConfigurationError(f"probability={probability!r}: give 0 to 1")
        return self.faults, times, round(float(probability), 12), _count(self.skip, "skip", 0)


class _Calls:
    """Which calls a rule is for.

    Args:
        pattern: as it was asked for.
        routes: the endpoints of the API.
        others: what is served besides.

    Raises:
        ConfigurationError: no call can match.
    """

    def __init__(self, pattern: object, routes: Sequence[ServerRoute], others: Sequence[ServerRoute]) -> None:
        found = _CALL.fullmatch(" ".join(pattern.split())) if isinstance(pattern, str) else None
        if found is None:
            raise ConfigurationError(
                f"on={pattern!r}: give method and path such as 'POST /trading-sessions', 'GET /api/*', or '*'"
            )
        method, path = found[1] or "*", found[2]
        self.pattern = found[0]
        template = _PARAMETER.sub(_SEGMENT, path)
        self._template = template
        # The description of the API is hit only by who names it.
        served = (*routes, *others) if any(path.startswith(other.template) for other in others) else routes
        self._whole: set[str] = set()
        self._partly: set[str] = set()
        for route in served:
            if method in ("*", route.method):
                shown = _PARAMETER.sub(_SEGMENT, route.template)
                if _fits(template, shown):
                    self._whole.add(route.name)
                elif _SEGMENT not in template and _meet(template, shown):
                    self._partly.add(route.name)
        if not self._whole and not self._partly:
            raise ConfigurationError(f"on={pattern!r} matches no endpoint; {_nearest(found[0], method, path, served)}")

    def meet(self, route: ServerRoute, path: str) -> bool:
        """Whether a call is one of them."""
        name = route.name
        return name in self._whole or (name in self._partly and _fits(self._template, path))


def _fits(pattern: str, text: str) -> bool:
    """Whether a text fits a pattern with `*`. Each piece is sought once: no pattern takes long."""
    first, *pieces = pattern.split("*")
    if not pieces:
        return text == pattern
    last = pieces.pop()
    place, end = len(first), len(text) - len(last)
    if not text.startswith(first) or not text.endswith(last):
        return False
    for piece in pieces:
        found = text.find(piece, place)
        if found < 0:
            return False
        place = found + len(piece)
    return place <= end


@lru_cache(maxsize=4096)
def _meet(pattern: str, template: str) -> bool:
    """Whether some path fits both a pattern with `*` and a template whose segments vary."""
    # Each place is a pair of what is left of both; a segment that varies takes at least one character.
    todo, seen = [(0, 0, False)], set[tuple[int, int, bool]]()
    while todo:
        place = todo.pop()
        if place in seen:
            continue
        seen.add(place)
        here, there, begun = place
        at_star = here < len(pattern) and pattern[here] == "*"
        at_segment = there < len(template) and template[there] == _SEGMENT
        if here == len(pattern) and there == len(template):
            return True
        if at_star:
            todo.append((here + 1, there, begun))
        if at_segment and begun:
            todo.append((here, there + 1, False))
        if here == len(pattern) or there == len(template):
            continue
        if at_star and at_segment:
            todo.append((here, there, True))
        elif at_star:
            todo.append((here, there + 1, False))
        elif at_segment:
            if pattern[here] != "/":
                todo.append((here + 1, there, True))
        elif pattern[here] == template[there]:
            todo.append((here + 1, there + 1, False))
    return False


def _nearest(asked: str, method: str, path: str, served: Sequence[ServerRoute]) -> str:
    elsewhere = [route.name for route in served if route.template == path]
    if elsewhere:
        return f"there is {', '.join(elsewhere)}"
    names = {route.name: route.name for route in served}
    if method == "*":
        names = {route.template: route.name for route in served}
    close = [names[name] for name in get_close_matches(asked, names, n=3, cutoff=0.3)]
    return f"the nearest are: {', '.join(close)}" if close else f"there are: {', '.join(names.values())}"


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """The rules of a text, and where each begins."""
    if not isinstance(text, str):
        raise ConfigurationError(f"{text!r} is no text of rules, such as '503 x2; hang 5%'")
    if len(text) > _LONGEST_TEXT:
        raise ConfigurationError(f"a text of {len(text)} characters is too long for rules")
    if not CLOSED.fullmatch(text):
        raise _wrong(text, text.rindex('"'), 1, "a quotation mark is open")
    for start, line in pieces(text, ";"):
        if line.strip():
            yield start, line


def _read(text: str, start: int, line: str) -> _Spec:
    """One rule of a text."""
    words = deque((start + place, word) for place, word in pieces(line, r"\s"))
    where, first = words.popleft()
    faults: list[Fault] = []
    for place, word in pieces(first, "|"):
        try:
            faults.append(Fault.read(word))
        except ConfigurationError as error:
            raise _wrong(text, where + place, len(word), str(error) + _known(word)) from None
    spec = _Spec(tuple(faults))
    while words:
        where, word = words.popleft()
        call = words[0] if words else (where, word)
        try:
            name = _take(spec, word, words)
        except ConfigurationError as error:
            raise _wrong(text, where, len(word), str(error)) from None
        if name in spec.said:
            raise _wrong(text, where, len(word), f"{name} is said twice")
        if name == "on":
            end = words[0][0] if words else start + len(line)
            spec.place = (text, call[0], len(text[call[0] : end].rstrip()))
        spec.said.add(name)
    return spec


def _take(spec: _Spec, word: str, rest: deque[tuple[int, str]]) -> str:
    """Understand one word behind the faults, with those that belong to it; gives what it is about."""
    if word == "on":
        if not rest:
            raise ConfigurationError("on what? such as: on POST /user/withdraw")
        call = rest.popleft()[1]
        if rest and _CALL.fullmatch(f"{call} {rest[0][1]}"):
            call += f" {rest.popleft()[1]}"
        spec.on = call
        return "on"
    if word == "skip":
        spec.skip = _number(rest.popleft()[1] if rest else "", "skip")
        return "skip"
    if re.fullmatch(r"x[0-9]+", word, re.ASCII):
        spec.times = _number(word[1:], "times")
        return "times"
    if word.endswith("%"):
        spec.probability = percent(word, "probability")
        return "probability"
    raise ConfigurationError(f"what is {word!r}? possible are x2 (how often), 5% (how likely), skip 3, on POST /path")


def _number(text: str, name: str) -> int:
    if not re.fullmatch(r"[0-9]{1,10}", text, re.ASCII):
        raise ConfigurationError(f"{name}: {text!r} is no whole number up to {MOST}")
    return _count(int(text), name, 1 if name == "times" else 0)


def _count(value: object, name: str, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= MOST:
        raise ConfigurationError(f"{name}={value!r}: give a whole number from {least} to {MOST}")
    return value


def _known(word: str) -> str:
    bare = re.sub(r"-(early|before|after)$", "", word.partition("=")[0])
    if bare in WORDS or bare.isdecimal():
        return ""
    close = get_close_matches(bare, WORDS, n=1)
    near = f"; is it {close[0]!r}?" if close else "."
    return f"{near} There are: any status such as 503, {', '.join(WORDS[1:])}; an ending, such as -after, says when"


def _wrong(text: str, place: int, length: int, message: str) -> ConfigurationError:
    """An error that points at a place of a text."""
    line = " ".join(text[max(0, place - 60) : place + length + 40].splitlines())
    column = min(place, 60)
    return ConfigurationError(f"{message}\n    {line}\n    {' ' * column}{'^' * max(1, length)}")
