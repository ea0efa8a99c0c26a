"""Small pieces of messages: did you mean, lists of names, paths as people read them."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from synapse_apply.model.diagnostic import Path

VALUE_FROM = "valueFrom"
FILL_IN = "CHANGE-ME"  # where `new` leaves a value to the user
ONLY_FOR_SECRETS = "valueFrom is only for secret fields"
_MOST_LISTED = 12
_SHORTEST_START = 3


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint with the closest known word, or the known words when none is close."""
    words = [str(one) for one in known]
    if not words:
        return ""
    near = closest(word, words)
    if near:
        return f"did you mean `{near}`?"
    listed = sorted(words)[:_MOST_LISTED]
    more = ", ..." if len(words) > _MOST_LISTED else ""
    return "known: " + ", ".join(listed) + more


def closest(word: str, words: Iterable[str]) -> str:
    """The known word that was probably meant, or ""."""
    lowered = {one.lower(): one for one in words}
    for key, one in lowered.items():
        if min(len(key), len(word)) >= _SHORTEST_START and (
            key.startswith(word.lower()) or word.lower().startswith(key)
        ):
            return one
    near = get_close_matches(word.lower(), lowered, n=1, cutoff=0.6)
    return lowered[near[0]] if near else ""


def dotted(path: Path) -> str:
    """`spec.configuration.items[2]`, as fields are named in messages."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else str(part)
    return text
