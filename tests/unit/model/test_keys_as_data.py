"""A field that was renamed keeps the JSON key that users' files have."""

from __future__ import annotations

from dataclasses import field

import pytest

from synapse_apply.model.codec import build_coder
from synapse_apply.model.frozen import frozen
from synapse_apply.model.json_values import KEY, WrongShapeError


@frozen
class Renamed:
    """Two fields, of which one was `seen`, and one `applied`."""

    answered: int = field(metadata={KEY: "seen"})
    sent: tuple[int, ...] = field(default=(), metadata={KEY: "applied"})
    plain: str = ""


def test_a_renamed_field_is_written_and_read_under_its_key() -> None:
    """Its own name means nothing in a file, and is left aside as any unknown key."""
    coder = build_coder(Renamed)
    written = coder.encode(Renamed(1, (2,), "x"))
    assert written == {"seen": 1, "applied": [2], "plain": "x"}
    assert coder.decode(written) == Renamed(1, (2,), "x")
    assert coder.decode({"seen": 1, "sent": [9]}) == Renamed(1)


def test_messages_name_the_key() -> None:
    """What is wrong with a file is told in the file's words."""
    with pytest.raises(WrongShapeError, match="seen missing"):
        build_coder(Renamed).decode({"answered": 1})
    with pytest.raises(WrongShapeError, match=r"applied\[0\]: expected an integer"):
        build_coder(Renamed).decode({"seen": 1, "applied": ["x"]})
