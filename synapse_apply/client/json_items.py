"""The items of a JSON list one by one, while the text is still arriving.

A log of a hundred thousand lines is tens of megabytes once it is parsed; nobody needs all of it at
a time.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from typing import Any

from synapse_apply.model.coding.server_json import OddJsonError, decode_lenient_json_at

MAX_ITEM_LENGTH = 16 * 1024 * 1024  # characters of one item
_LONG_ITEM_LENGTH = 64 * 1024
_BLANKS = " \t\r\n"
_VALUE_ENDS = frozenset(",]}:" + _BLANKS)


class NotItemsError(ValueError):
    """The text is no JSON, no list and no object with one, or an item is too large."""


class JsonItems:
    """The items of `[...]`, or of the list under one of `names` in an object.

    `other_values` has the object's other values once all items were taken.
    """

    def __init__(self, blocks: Iterable[bytes], names: tuple[str, ...]) -> None:
        """Nothing is read yet."""
        self._blocks = iter(blocks)
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("strict")
        self._buffer = ""
        self._position = 0
        self._names = names
        self.other_values: dict[str, Any] = {}

    def __iter__(self) -> Iterator[Any]:
        first_char = self._peek_char()
        if first_char == "[":
            yield from self._iter_list_items()
        elif first_char == "{":
            yield from self._iter_object_items()
        else:
            raise NotItemsError("neither a list nor an object with one")

    def _iter_object_items(self) -> Iterator[Any]:
        has_list = False
        self._position += 1
        while self._peek_char() != "}":
            name = self._parse_value()
            self._expect_char(":")
            if name in self._names and self._peek_char() == "[":
                has_list = True
                yield from self._iter_list_items()
            else:
                self.other_values[str(name)] = self._parse_value()
            if self._peek_char() != "}":
                self._expect_char(",")
        if not has_list:
            raise NotItemsError("an object without a list")

    def _iter_list_items(self) -> Iterator[Any]:
        self._position += 1
        while self._peek_char() != "]":
            yield self._parse_value()
            if self._peek_char() != "]":
                self._expect_char(",")
        self._position += 1

    def _expect_char(self, char: str) -> None:
        if self._peek_char() != char:
            raise NotItemsError("no JSON")
        self._position += 1

    def _peek_char(self) -> str:
        """The next character that is no blank, not taken yet."""
        while True:
            while self._position < len(self._buffer):
                char = self._buffer[self._position]
                if char not in _BLANKS:
                    return char
                self._position += 1
            if not self._read_more_blocks():
                raise NotItemsError("no JSON: it stops half-way")

    def _parse_value(self) -> Any:
        self._peek_char()
        while True:
            try:
                value, end = decode_lenient_json_at(self._buffer, self._position)
            except OddJsonError as problem:
                raise NotItemsError(f"no JSON that can be read: {problem}") from None
            except ValueError:
                value, end = None, len(self._buffer)
                if self._read_more_of_item():
                    continue
                raise NotItemsError("no JSON") from None
            # A number may go on in the next block: 2.5e is followed by no comma yet.
            if self._buffer[end : end + 1] in _VALUE_ENDS or not self._read_more_blocks():
                self._position = end
                return value

    def _read_more_of_item(self) -> bool:
        """Read on for an item that has not ended; a long one half as far again.

        It is parsed anew from its beginning, which must not happen at each of many small blocks.
        """
        pending = len(self._buffer) - self._position
        return self._read_more_blocks(pending // 2 if pending > _LONG_ITEM_LENGTH else 1)

    def _read_more_blocks(self, min_chars: int = 1) -> bool:
        """Read another block, or so many that they have `min_chars` characters; False at the end.

        What was taken makes room.
        """
        if len(self._buffer) - self._position > MAX_ITEM_LENGTH:
            raise NotItemsError(f"an item has more than {MAX_ITEM_LENGTH} characters")
        pieces = [self._buffer[self._position :]]
        size = 0
        while size < min_chars and (block := next(self._blocks, None)) is not None:
            try:
                pieces.append(self._decoder.decode(block))
            except UnicodeDecodeError:
                raise NotItemsError("no UTF-8") from None
            size += max(1, len(pieces[-1]))
        self._buffer = "".join(pieces)
        self._position = 0
        return len(pieces) > 1
