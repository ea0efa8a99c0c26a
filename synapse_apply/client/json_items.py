"""How the items of a JSON list are parsed one by one while the text is still arriving.

A parsed log of a hundred thousand lines takes tens of megabytes, which no caller needs at once.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from typing import Any

from synapse_apply.model.coding.json_types import JsonValue
from synapse_apply.model.coding.server_json import OddJsonError, decode_lenient_json_at

MAX_ITEM_LENGTH = 16 * 1024 * 1024  # characters of one item
_LONG_ITEM_LENGTH = 64 * 1024
_BLANKS = " \t\r\n"
_VALUE_ENDS = frozenset(",]}:" + _BLANKS)


class NotItemsError(ValueError):
    """The text is not JSON, neither a list nor an object with one, or an item is too large."""


class JsonItems:
    """Iterates over the items of `[...]`, or of the list under one of `names` in an object.

    After the last item `other_values` holds the object's other values. NotItemsError from the
    iteration.
    """

    def __init__(self, blocks: Iterable[bytes], names: tuple[str, ...]) -> None:
        """`blocks` are pieces of UTF-8 text; none is read before the iteration."""
        self._blocks = iter(blocks)
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("strict")
        self._buffer = ""
        self._position = 0
        self._names = names
        self.other_values: dict[str, Any] = {}

    def __iter__(self) -> Iterator[Any]:
        first_char = self._peek()
        if first_char == "[":
            yield from self._iter_list_items()
        elif first_char == "{":
            yield from self._iter_object_items()
        else:
            raise NotItemsError("neither a list nor an object with one")

    def _iter_object_items(self) -> Iterator[Any]:
        has_list = False
        self._position += 1
        while self._peek() != "}":
            name = self._parse_value()
            self._consume_char_or_raise(":")
            if name in self._names and self._peek() == "[":
                has_list = True
                yield from self._iter_list_items()
            else:
                self.other_values[str(name)] = self._parse_value()
            if self._peek() != "}":
                self._consume_char_or_raise(",")
        if not has_list:
            raise NotItemsError("an object without a list")

    def _iter_list_items(self) -> Iterator[Any]:
        self._position += 1
        while self._peek() != "]":
            yield self._parse_value()
            if self._peek() != "]":
                self._consume_char_or_raise(",")
        self._position += 1

    def _consume_char_or_raise(self, char: str) -> None:
        if self._peek() != char:
            raise NotItemsError("no JSON")
        self._position += 1

    def _peek(self) -> str:
        """The next character that is not a blank, without consuming it."""
        while True:
            while self._position < len(self._buffer):
                char = self._buffer[self._position]
                if char not in _BLANKS:
                    return char
                self._position += 1
            if not self._read_more():
                raise NotItemsError("no JSON: it stops half-way")

    def _parse_value(self) -> JsonValue:
        self._peek()
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
            if self._buffer[end : end + 1] in _VALUE_ENDS or not self._read_more():
                self._position = end
                return value

    def _read_more_of_item(self) -> bool:
        """Read more of an item that is incomplete; False at the end of the text.

        The item is parsed again from its start each time. Reading half of its length in addition
        keeps the total work linear.
        """
        pending = len(self._buffer) - self._position
        return self._read_more(pending // 2 if pending > _LONG_ITEM_LENGTH else 1)

    def _read_more(self, min_chars: int = 1) -> bool:
        """Append blocks of at least `min_chars` characters to the buffer; False if there are none.

        The consumed part of the buffer is dropped. NotItemsError for an item that is too long.
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
