"""How objects are read from `git cat-file --batch`, with a limit on each.

Its answers are `ID TYPE SIZE`, the content and a line end; or `NAME missing`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from synapse_apply.files.programs import PipedProgram

# Requests that are written before their answers are read; all of them fit into the pipe.
_AHEAD = 64


class GitObject(NamedTuple):
    """An object of a repository; `kind` is commit, tree, blob or tag."""

    object_id: str
    kind: str
    content: bytes


class UnreadableObjectError(Exception):
    """An object is missing or too large; the text says so. The reader must be closed then."""


class ObjectReader:
    """A running `git cat-file --batch`; it also sees objects that were added since its start."""

    def __init__(self, program: PipedProgram) -> None:
        self._program = program

    def read_object_id(self, name: str) -> str:
        """The id of the commit that a ref names; UnreadableObjectError if there is none."""
        return self.read_limited_object(name, 1 << 20).object_id

    def read_limited_object(self, name: str, max_bytes: int) -> GitObject:
        """One object by its id or ref; UnreadableObjectError."""
        return next(self.iter_objects([name], max_bytes))

    def iter_objects(self, names: Sequence[str], max_bytes: int) -> Iterator[GitObject]:
        """The objects in the order of their names; UnreadableObjectError for one above the limit.

        Has to be read to its end before the next request.
        """
        for start in range(0, len(names), _AHEAD):
            chunk = names[start : start + _AHEAD]
            try:
                self._program.input.write("".join(f"{name}\n" for name in chunk).encode())
                self._program.input.flush()
            except BrokenPipeError:
                raise UnreadableObjectError("git cat-file has ended") from None
            for _ in chunk:
                yield self._read_answer(max_bytes)

    def close(self) -> None:
        self._program.kill()

    def _read_answer(self, max_bytes: int) -> GitObject:
        words = self._program.output.readline().decode("utf-8", "replace").split()
        if len(words) != 3 or not words[2].isdecimal():
            raise UnreadableObjectError("it cannot be read")
        object_id, kind, size_text = words
        size = int(size_text)
        if size > max_bytes:
            raise UnreadableObjectError(f"it is larger than {max_bytes // 1024} KiB")
        content = self._program.output.read(size + 1)
        if len(content) != size + 1:
            raise UnreadableObjectError("it cannot be read")
        return GitObject(object_id, kind, content[:-1])
