"""How messages suggest a similar name, list known names, and write the path of a field."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from synapse_apply.model.diagnostic import Path

VALUE_FROM = "valueFrom"
FILL_IN = "CHANGE-ME"  # `synapse-apply new` writes it where the user has to give a value
ONLY_FOR_SECRETS = "valueFrom is only for secret fields"
_MAX_LISTED = 12
_MIN_PREFIX_LENGTH = 3


def suggest_known_word(word: str, known_words: Iterable[str]) -> str:
    """A hint with the closest known word, or listing known words when none is close.

    "" for none.
    """
    words = [str(known_word) for known_word in known_words]
    if not words:
        return ""
    match = find_closest_word(word, words)
    if match:
        return f"did you mean `{match}`?"
    first_words = sorted(words)[:_MAX_LISTED]
    ellipsis_text = ", ..." if len(words) > _MAX_LISTED else ""
    return "known: " + ", ".join(first_words) + ellipsis_text


def find_closest_word(word: str, words: Iterable[str]) -> str:
    """The word that shares a prefix with `word` or is spelled most like it; "" for none."""
    lowered = {candidate.lower(): candidate for candidate in words}
    for key, candidate in lowered.items():
        if min(len(key), len(word)) >= _MIN_PREFIX_LENGTH and (
            key.startswith(word.lower()) or word.lower().startswith(key)
        ):
            return candidate
    matches = get_close_matches(word.lower(), lowered, n=1, cutoff=0.6)
    return lowered[matches[0]] if matches else ""


def format_dotted_path(path: Path) -> str:
    """A path as messages write it, such as `spec.configuration.items[2]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else str(part)
    return text
