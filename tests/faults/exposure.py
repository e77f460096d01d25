"""All that a log, a terminal, an error tracker or a pickle could show of what went wrong, as one text to search."""

from __future__ import annotations

import asyncio
import base64
import logging
import pickle
import traceback
import warnings
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any

from rich.traceback import Traceback

from alura_async import Secret


class Exposure(logging.Handler):
    """Gathers what is shown, from the moment it is installed; frames of the files in `own` are left out.

    Those hold the known secrets, because a test must know what it looks for.
    """

    def __init__(self, *own: str) -> None:
        super().__init__(logging.NOTSET)
        self._own = own
        self.texts: list[str] = []

    @asynccontextmanager
    async def everywhere(self, *, callbacks: bool = False) -> AsyncIterator[Exposure]:
        """Listen to every logger at DEBUG, to warnings, and to the loop's exception handler.

        Args:
            callbacks: whether to have the loop's debug mode report each callback, too, which takes its time.
        """
        loop, root = asyncio.get_running_loop(), logging.getLogger()
        level, debug, slow = root.level, loop.get_debug(), loop.slow_callback_duration
        root.addHandler(self)
        root.setLevel(logging.DEBUG)
        loop.set_debug(callbacks)
        loop.slow_callback_duration = 0.0
        loop.set_exception_handler(lambda _, context: self.add_context(context))
        try:
            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always")
                yield self
                # What is reported when it is collected is reported now.
                await asyncio.sleep(0)
            self.texts += [str(warning) for warning in warned]
        finally:
            loop.set_exception_handler(None)
            loop.set_debug(debug)
            loop.slow_callback_duration = slow
            root.setLevel(level)
            root.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.texts += [record.getMessage(), repr(record.__dict__)]
        if record.exc_info and record.exc_info[1] is not None:
            self.texts.append(logging.Formatter().formatException(record.exc_info))
            # What others log is theirs: only with the usual formatter. What we log may be rendered by anything.
            if record.name.split(".", 1)[0] == "alura_async":
                self.add(record.exc_info[1])

    def add_context(self, context: dict[str, Any]) -> None:
        """What asyncio's exception handler is told."""
        self.texts.append(repr(context))
        if isinstance(error := context.get("exception"), BaseException):
            self.add(error)

    def add(self, error: BaseException) -> None:
        """An error, and all errors that can be reached from it."""
        for reached in _reachable(error):
            self.texts += [str(reached), repr(reached), repr(reached.args), repr(vars(reached))]
            self.texts += traceback.format_exception_only(reached)
            stack = traceback.StackSummary.extract(traceback.walk_tb(reached.__traceback__), capture_locals=True)
            self.texts += [f"{frame.name}: {frame.locals}" for frame in stack if frame.filename not in self._own]
            self.texts += _pickled(reached)
        # It follows what an error came from by itself.
        self.texts += self._in_rich(error, self._others(error.__traceback__))

    def _others(self, trace: TracebackType | None) -> TracebackType | None:
        while trace is not None and trace.tb_frame.f_code.co_filename in self._own:
            trace = trace.tb_next
        return trace

    def _in_rich(self, error: BaseException, trace: TracebackType | None) -> Iterator[str]:
        extracted = Traceback.extract(
            type(error), error, trace, show_locals=True, locals_max_length=1000, locals_max_string=100_000
        )
        for stack in extracted.stacks:
            yield from (stack.exc_value, str(stack))
            for frame in stack.frames:
                if frame.filename not in self._own:
                    for name, node in (frame.locals or {}).items():
                        yield f"{frame.name}: {name}={''.join(node.iter_tokens())}"

    def shown(self, secrets: Iterable[str]) -> list[str]:
        """The places where any of these shows, in any of their forms, or in a part."""
        marks = {mark for secret in secrets for mark in _marks(secret)}
        found = [text for text in self.texts if any(mark in text or mark in text.lower() for mark in marks)]
        return [text[:2000] for text in found]


def _reachable(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    pending: list[Any] = [error]
    while pending:
        value = pending.pop()
        if isinstance(value, list | tuple):
            pending += value
        elif isinstance(value, BaseException) and not any(value is known for known in found):
            found.append(value)
            pending += [value.__cause__, value.__context__, value.args, list(vars(value).values())]
            pending += getattr(value, "exceptions", ())
    return found


def _pickled(error: BaseException) -> list[str]:
    try:
        data = pickle.dumps(error)
    except Exception as refused:
        return [str(refused), repr(refused)]
    return [data.decode("latin-1")]


def _marks(secret: str) -> Iterator[str]:
    """Every form of a secret, in parts of which any shows too much. The first characters of a JWT are everyone's."""
    text = secret.removeprefix("0x")
    forms = [text[40:] if text.startswith("eyJ") else text, text.encode().hex()]
    raws = [text.encode()]
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        pass
    else:
        raws.append(raw)
        forms.append(raw.decode("latin-1"))
        forms.append(repr(raw)[2:-1])
    forms += [base64.b64encode(raw).decode().rstrip("=") for raw in raws]
    for form in forms:
        for start in range(0, max(1, len(form) - 16), 8):
            yield form[start : start + 16]


def revealed(secrets: Iterable[Secret]) -> list[str]:
    """Their texts."""
    return [secret.reveal() for secret in secrets]
