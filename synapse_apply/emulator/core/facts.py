"""From which source each behaviour is known, for the generated page."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FactSource(StrEnum):
    """From where a behaviour is known; see SOURCE_MEANINGS."""

    DOCUMENTED = "documented"  # the API page says so; of v2, the vendor's description
    PROCEDURE = "procedure"  # the vendor's own procedure for moving plugins between servers
    MEASURED = "measured"  # a comment in the vendor's client tells what the server did
    OBSERVED = "observed"  # the vendor's own client does or expects it on the wire
    DESCRIBED = "described"  # the vendor's description of v2, its policy or its data model
    DERIVED = "derived"  # follows from one of these by how Django REST framework works
    GUESSED = "guessed"  # nobody says; the embedded backend had to choose


SOURCE_MEANINGS: dict[FactSource, str] = {
    FactSource.DOCUMENTED: "The API page says so; of v2, the vendor's description.",
    FactSource.PROCEDURE: "The vendor's own written procedure for moving plugins between servers: "
    "real calls, which makes it the strongest word there is on the platform's v1.",
    FactSource.MEASURED: "A comment in the vendor's client says what the server did when it was "
    "measured, or names the backend's own source.",
    FactSource.OBSERVED: "The vendor's own clients do it, or expect it, on the wire.",
    FactSource.DESCRIBED: "The vendor's description of v2, its policy for agents or its data model "
    "says so, also of v1.",
    FactSource.DERIVED: "It follows from a stated fact by how Django REST framework works.",
    FactSource.GUESSED: "Nobody says; switches change the guesses that matter.",
}


@dataclass(frozen=True, slots=True)
class Fact:
    """One behaviour with its source, for the page that `table` renders."""

    text: str
    source: FactSource
