"""What an upload reads is told to the progress, not too often, and to the last byte."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from synapse_apply.applying.run import ProgressPackages
from synapse_apply.client.http.multipart import MultipartBody
from synapse_apply.model.address import Address

RELEASE = Address("release", "yolo@1.0.0")
SIZE = 1_000_000


@dataclass
class Told:
    """A progress that remembers, and a clock that moves with each look at it."""

    step: float
    reports: list[tuple[Address, int, int]] = field(default_factory=list)
    at: float = 0.0

    def report_upload(self, address: Address, sent_bytes: int, total_bytes: int) -> None:
        self.reports.append((address, sent_bytes, total_bytes))

    def monotonic_seconds(self) -> float:
        self.at += self.step
        return self.at


class Shelf:
    """One package; opened as the port says."""

    @contextmanager
    def open_package(self, _address: Address) -> Iterator[Any]:
        yield io.BytesIO(b"x" * SIZE)


def upload(told: Told, attempts: int = 1) -> bytes:
    """Read a package as a client does, through its multipart body."""
    watched = ProgressPackages(Shelf(), told, told)  # type: ignore[arg-type]
    with watched.open_package(RELEASE) as file:
        body = MultipartBody({"plugin": 1}, file)
        for _ in range(attempts):
            body.rewind()
            content = b"".join(body)
    return content


def test_the_first_and_the_last_byte_are_told() -> None:
    """However slow the clock is, a bar begins empty and ends full; nothing of the file is lost."""
    told = Told(0.0)
    assert upload(told).count(b"x") == SIZE
    assert told.reports == [(RELEASE, 0, SIZE), (RELEASE, SIZE, SIZE)]


def test_in_between_it_is_told_now_and_then() -> None:
    """At most ten times a second, each time with more than before."""
    told = Told(0.03)
    upload(told)
    done = [one[1] for one in told.reports]
    assert done == sorted(set(done))
    assert 3 < len(done) <= told.at / 0.1 + 2


def test_another_try_begins_anew() -> None:
    """The body is set back to its start, and the progress with it."""
    told = Told(0.0)
    upload(told, attempts=2)
    assert [one[1] for one in told.reports] == [0, SIZE, SIZE]
