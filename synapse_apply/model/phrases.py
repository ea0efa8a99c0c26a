"""Phrases of messages: the path of a field, a count, a few names of many, a name that was meant."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from synapse_apply.model.diagnostic import FieldPath

_MAX_KNOWN_WORDS = 12
_MIN_PREFIX_LENGTH = 3
# To look through thousands of words for each of thousands takes minutes.
MAX_SUGGESTIONS, _MAX_COMPARED_WORDS = 20, 5_000


def format_field_path(path: FieldPath, format_key: Callable[[Any], str] = str) -> str:
    """A path as messages write it, such as `spec.configuration.items[2]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + format_key(part)
    return text


def format_count_and_noun(count: int, noun: str) -> str:
    """A count with its noun, such as `1 error` or `2 errors`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def format_time_after(moment: str, seconds: float) -> str:
    """The time so many seconds after a moment (RFC 3339, UTC), rounded up to a whole second."""
    time = datetime.fromisoformat(moment) + timedelta(seconds=seconds, microseconds=999_999)
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"


def format_short_list(names: Iterable[object], most: int = 5) -> str:
    """The first names, and how many more there are."""
    texts = [str(name) for name in names]
    hidden_count = len(texts) - most
    return ", ".join(texts[:most]) + (f" and {hidden_count} more" if hidden_count > 0 else "")


def suggest_name(name: str, known_names: Iterable[str], default_hint: str) -> str:
    """A hint with the known name closest to an unknown one, else the default."""
    match = find_similar_word(name, known_names)
    return f"Did you mean {match}?" if match else default_hint


class FirstHints:
    """Hints that are searched for, of one reading: only the first, whatever the file's size."""

    def __init__(self) -> None:
        self._count = 0

    def find_hint(self, search: Callable[[], str]) -> str:
        """What the search returns; "" once there were enough searches."""
        self._count += 1
        return search() if self._count <= MAX_SUGGESTIONS else ""

    def suggest(self, word: str, known_words: Iterable[str]) -> str:
        """As `suggest_words`, of the first words."""
        return self.find_hint(partial(suggest_words, word, known_words))


def suggest_words(word: str, known_words: Iterable[str]) -> str:
    """A hint with the closest known word, or listing known words when none is close.

    "" for none.
    """
    words = [str(known_word) for known_word in known_words]
    if not words:
        return ""
    match = find_similar_word(word, words)
    if match:
        return f"did you mean `{match}`?"
    first_words = sorted(words)[:_MAX_KNOWN_WORDS]
    ellipsis_text = ", ..." if len(words) > _MAX_KNOWN_WORDS else ""
    return "known: " + ", ".join(first_words) + ellipsis_text


def find_similar_word(word: str, words: Iterable[str], min_likeness: float = 0.6) -> str:
    """The word that shares a prefix with `word` or is spelled most like it; "" for none.

    `min_likeness` is from 0 to 1, as the ratio of `difflib.SequenceMatcher`.
    """
    # Here, not above: most runs suggest nothing.
    from difflib import get_close_matches  # noqa: PLC0415

    lowered = {candidate.lower(): candidate for candidate in words}
    matches = [
        key
        for key in lowered
        if min(len(key), len(word)) >= _MIN_PREFIX_LENGTH
        and (key.startswith(word.lower()) or word.lower().startswith(key))
    ] or get_close_matches(
        word.lower(), list(islice(lowered, _MAX_COMPARED_WORDS)), n=1, cutoff=min_likeness
    )
    # Of several with that prefix the one that differs least in length.
    return lowered[min(matches, key=lambda key: abs(len(key) - len(word)))] if matches else ""


def shown_path(path: Path) -> str:
    """A path for messages: relative to the working folder where it lies inside.

    A link goes by its own name: what has the name in a commit may be another file.
    """
    try:
        return str((path.parent.resolve() / path.name).relative_to(Path.cwd()))
    except (ValueError, RuntimeError):  # outside, or a link in a circle
        return str(path)
