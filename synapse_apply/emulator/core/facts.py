"""How sure each behaviour is: the words of the generated page."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Mark(StrEnum):
    """Where a behaviour comes from."""

    DOCUMENTED = "documented"  # the API page says so; of v2, the vendor's description
    OBSERVED = "observed"  # the vendor's own client does or expects it on the wire
    GUESSED = "guessed"  # nobody says; the embedded backend had to choose


@dataclass(frozen=True, slots=True)
class Fact:
    """One behaviour, for the page that `table` writes."""

    text: str
    mark: Mark
