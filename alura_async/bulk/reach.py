"""How much a server's replies have held of one interval, and how much is asked for accordingly: numbers only."""

from __future__ import annotations

# As long as no reply has been shown to be cut, one without a candle speaks for a range of so many intervals.
LEAST_REACH = 500
# A question reaches beyond its window by an interval below, and to the candle after it above.
_MARGINS = 2
# A server may begin earlier than it is asked to: with the candle before, or with the one that ends then.
_MOST_EARLY = 2
# So many replies in a row may leave open how much one holds; afterwards several are asked for side by side.
_MOST_ALONE = 5
# From so many candles on, a reply shows how long a time it may be about.
_MANY = 8
# So few may be all that a reply has room for.
FEWEST = 3
# A stretch may be asked for at so many times the length of a reply, if there is little in it.
_LONGEST = 1 << 20
# A number of candles that is refused is replaced by one of these.
LIMITS = (5000, 1000, 500, 200, 100, 50, 20, 10)


class Reach:
    """How much replies have held so far, of one interval.

    Args:
        limit: how many candles are asked for; None where no number is.

    Attributes:
        limit: the same.
        rows: the most candles in one.
        slots: the most intervals from the first to the last candle of one.
        is_capped: whether a reply has been shown to be cut.
        is_whole: whether a reply had candles, and proved all of its window.
        bridged: over how many intervals without a candle, from a range's start on, a reply reached; None while that has
            not been asked.
        asked: how many replies there were.
    """

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self.rows = 0
        self.slots = 0
        self.is_capped = False
        self.is_whole = False
        self.bridged: int | None = None
        self.asked = 0
        self._believed = min(limit or LEAST_REACH, LEAST_REACH)
        # What is asked for where replies are cut at the end, and what of symbols that differ from the others.
        self._most: int | None = None
        self._sizes: dict[str, int] = {}
        self._tight: set[str] = set()

    @property
    def is_settled(self) -> bool:
        """Whether enough is known to ask for several windows at once."""
        return self.is_capped or self.is_whole or self.asked >= _MOST_ALONE

    @property
    def holds_few(self) -> bool:
        """Whether replies have been shown to have room for hardly more than the candles around a stretch."""
        return self.is_capped and self.rows <= FEWEST

    @property
    def empty_reach(self) -> int:
        """The most intervals that a reply speaks for which has nothing in them."""
        return max(self.slots, LIMITS[-2] if self.is_capped and self.rows >= _MANY else self._believed)

    def size(self, symbol: str | None = None) -> int:
        """How many intervals to ask for."""
        size = self._sizes.get(symbol) if symbol is not None else None
        if size is not None:
            return size
        most = self.limit or LIMITS[0]
        if self.is_capped:
            # What holds little, because there is little, shows nothing of how much it may hold.
            most = min(most, max(self.rows, min(self.slots, LEAST_REACH), self.empty_reach))
        size = _within(most)
        return size if self._most is None else min(size, self._most)

    def learn(self, count: int, slots: int) -> None:
        """Learn from a reply that has candles."""
        self.asked += 1
        self.rows = max(self.rows, count)
        self.slots = max(self.slots, slots)

    def believe_less(self, intervals: int) -> None:
        """A reply to a range so long did not have a candle that it should have had."""
        self._believed = max(LIMITS[-2], min(self._believed, intervals // 2))

    def narrow(self, symbol: str, beyond: int = 0) -> bool:
        """Ask for no more than what a reply without a candle speaks for, if that is less.

        Args:
            symbol: of which symbol.
            beyond: how many intervals are asked for beyond the window.
        """
        self._tight.add(symbol)
        size = _within(self.empty_reach - max(0, beyond - _MARGINS))
        if size >= self.size(symbol):
            return False
        self._sizes[symbol] = size
        return True

    def halve(self, symbol: str, asked: int) -> bool:
        """Ask for half of what was asked for, if that is not the least already."""
        self._sizes[symbol] = min(asked, self.size(symbol)) // 2 or 1
        return asked > 1

    def shrink(self, symbol: str, held: int | None, asked: int) -> None:
        """A reply held the first intervals of those that were asked for.

        Args:
            symbol: of which symbol.
            held: how many; None if there may be no others.
            asked: how many were asked for.
        """
        is_usual = self._sizes.pop(symbol, None) is None
        if held is not None and is_usual and self.is_capped and asked / 2 < held < asked <= self.size():
            self._most = held

    def recover(self, symbol: str) -> None:
        """Ask for more again where less was asked for than a reply speaks for."""
        most = min(_within(self.empty_reach), self.size())
        if self.size(symbol) < most:
            self._sizes[symbol] = min(2 * self.size(symbol), most)

    def grow(self, symbol: str, count: int) -> None:
        """Ask for more of a symbol that is seldom traded."""
        size = self.size(symbol)
        if size < self.size() or (self.is_capped and count < self.rows / 2):
            most = _within(max(self.slots, self.empty_reach)) if symbol in self._tight else _LONGEST
            self._sizes[symbol] = max(size, min(2 * size, most))


def _within(most: int) -> int:
    """The largest window for which a reply has room that may hold, or speak for, so much."""
    return max(1, most - _MARGINS - min(_MOST_EARLY, most // 10))
