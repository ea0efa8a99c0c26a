"""The items of a JSON list one by one, while the text is still arriving.

A log of a hundred thousand lines is tens of megabytes once it is parsed; nobody needs all of it at
a time.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from typing import Any

from synapse_apply.model.server_json import OddJsonError, decode_words_at

LARGEST = 16 * 1024 * 1024  # characters of one item
_LONG = 64 * 1024
_BLANKS = " \t\r\n"
_ENDS = frozenset(",]}:" + _BLANKS)


class NotItemsError(ValueError):
    """The text is no JSON, no list and no object with one, or an item is too large."""


class Items:
    """The items of `[...]`, or of the list under one of `names` in an object.

    `beside` has the object's other values once all items were taken.
    """

    def __init__(self, blocks: Iterable[bytes], names: tuple[str, ...]) -> None:
        """Nothing is read yet."""
        self._blocks = iter(blocks)
        self._text = codecs.getincrementaldecoder("utf-8-sig")("strict")
        self._buffer = ""
        self._at = 0
        self._names = names
        self.beside: dict[str, Any] = {}

    def __iter__(self) -> Iterator[Any]:
        first = self._sign()
        if first == "[":
            yield from self._list()
        elif first == "{":
            yield from self._object()
        else:
            raise NotItemsError("neither a list nor an object with one")

    def _object(self) -> Iterator[Any]:
        found = False
        self._at += 1
        while self._sign() != "}":
            name = self._value()
            self._take(":")
            if name in self._names and self._sign() == "[":
                found = True
                yield from self._list()
            else:
                self.beside[str(name)] = self._value()
            if self._sign() != "}":
                self._take(",")
        if not found:
            raise NotItemsError("an object without a list")

    def _list(self) -> Iterator[Any]:
        self._at += 1
        while self._sign() != "]":
            yield self._value()
            if self._sign() != "]":
                self._take(",")
        self._at += 1

    def _take(self, sign: str) -> None:
        if self._sign() != sign:
            raise NotItemsError("no JSON")
        self._at += 1

    def _sign(self) -> str:
        """The next character that is no blank, not taken yet."""
        while True:
            while self._at < len(self._buffer):
                sign = self._buffer[self._at]
                if sign not in _BLANKS:
                    return sign
                self._at += 1
            if not self._more():
                raise NotItemsError("no JSON: it stops half-way")

    def _value(self) -> Any:
        self._sign()
        while True:
            try:
                value, end = decode_words_at(self._buffer, self._at)
            except OddJsonError as problem:
                raise NotItemsError(f"no JSON that can be read: {problem}") from None
            except ValueError:
                value, end = None, len(self._buffer)
                if self._much_more():
                    continue
                raise NotItemsError("no JSON") from None
            # A number may go on in the next block: 2.5e is followed by no comma yet.
            if self._buffer[end : end + 1] in _ENDS or not self._more():
                self._at = end
                return value

    def _much_more(self) -> bool:
        """Read on for an item that has not ended; a long one half as far again.

        It is parsed anew from its beginning, which must not happen at each of many small blocks.
        """
        pending = len(self._buffer) - self._at
        return self._more(pending // 2 if pending > _LONG else 1)

    def _more(self, least: int = 1) -> bool:
        """Read another block, or so many that they have `least` characters; False at the end.

        What was taken makes room.
        """
        if len(self._buffer) - self._at > LARGEST:
            raise NotItemsError(f"an item has more than {LARGEST} characters")
        pieces = [self._buffer[self._at :]]
        size = 0
        while size < least and (block := next(self._blocks, None)) is not None:
            try:
                pieces.append(self._text.decode(block))
            except UnicodeDecodeError:
                raise NotItemsError("no UTF-8") from None
            size += max(1, len(pieces[-1]))
        self._buffer = "".join(pieces)
        self._at = 0
        return len(pieces) > 1
