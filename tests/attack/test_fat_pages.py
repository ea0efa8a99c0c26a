"""Pages of lists that are fatter than was asked for: read as they are, or an error that says why.

The command is a process of its own, since memory is a process's.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attack.lying import Answered, Asked, Liar, Lie
from installed import BIN, environment

from synapse_apply import EmbeddedServer

TOKEN = "token-of-acme-1234567890"
MOST_MEMORY = 300 * 1024  # KiB
# Of a small process: one that this process starts would count the memory of this one.
MEASURE = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
print("KiB", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""


@pytest.fixture(scope="module")
def liar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Liar]:
    folder = tmp_path_factory.mktemp("backend")
    with EmbeddedServer(folder / "data", token=TOKEN) as server, Liar(server.url).running() as liar:
        yield liar


def pages(count: int, size: int, most: int = 1) -> Lie:
    """Each page of a list has so many objects of so many bytes, whatever was asked for."""

    def lie(asked: Asked, answered: Answered) -> Answered:
        path, _, query = asked.path.partition("?")
        if asked.method != "GET" or not path.endswith(("storages/", "v2/plugins/")):
            return answered
        found = re.search(r"(?:^|&)(?:page|cursor)=(\d+)", query)
        number = int(found[1]) if found else 1
        items: list[dict[str, Any]] = [
            {
                "id": number * 10**6 + k,
                "name": f"n{number}-{k}",
                "code": f"c{number}-{k}",
                "provider": "file_system",
                "category": "external",
                "configuration": {"location": "x" * size},
            }
            for k in range(count)
        ]
        following = str(number + 1) if number < most else None
        body: dict[str, Any] = {"data": items, "meta": {"pagination": {"next_cursor": following}}}
        if "v2" not in path:
            link = following and f"{path}?page={following}"
            body = {"count": count * most, "next": link, "previous": None, "results": items}
        headers = tuple(pair for pair in answered.headers if pair[0].lower() != "content-length")
        return Answered(200, headers, b"").with_body(json.dumps(body).encode())

    return lie


def got(folder: Path, liar: Liar, api: str) -> tuple[int, str]:
    """The list as `get` shows it, which keeps within the memory; its exit code and its words."""
    settings = {"url": liar.url, "api": api, "token": {"env": "ACME_TOKEN"}}
    project = {"apiVersion": "synapse-apply/v1", "kind": "Project", "targets": {"prod": settings}}
    (folder / "synapse-apply.yaml").write_text(json.dumps(project))
    typed = ["get", "storages" if api == "v1" else "plugins", "--json"]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(BIN / "synapse-apply"), *typed],
        cwd=folder, env=environment({"ACME_TOKEN": TOKEN}), capture_output=True, check=False,
        text=True,
    )  # fmt: skip
    memory = re.search(r"KiB (\d+)\n", done.stderr)
    assert memory is not None
    if done.returncode:
        assert int(memory[1]) < MOST_MEMORY, f"{int(memory[1]) // 1024} MiB"
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("api", ["v1", "v2"])
@pytest.mark.parametrize(("count", "size"), [(20_000, 1), (50, 300_000)])
def test_a_fat_page_is_read_as_it_is(
    tmp_path: Path, liar: Liar, api: str, count: int, size: int
) -> None:
    """Below 16 MiB: many more objects than were asked for, or large ones."""
    liar.tells(pages(count, size))
    code, text = got(tmp_path, liar, api)
    assert code == 0, text[-2000:]
    assert text.count('"n1-') == count


@pytest.mark.parametrize("api", ["v1", "v2"])
@pytest.mark.parametrize(("count", "size"), [(100_000, 100), (100, 300_000)])
def test_a_page_that_is_too_fat_is_an_error(
    tmp_path: Path, liar: Liar, api: str, count: int, size: int
) -> None:
    """It names the list and the bound."""
    liar.tells(pages(count, size))
    code, text = got(tmp_path, liar, api)
    assert code == 1
    assert f"GET {'storages/' if api == 'v1' else 'v2/plugins/'}: 200 OK" in text
    assert "the answer has more than 16777216 bytes" in text
    assert re.search(r"target\W+prod", text)


@pytest.mark.parametrize("api", ["v1", "v2"])
@pytest.mark.parametrize(("count", "size"), [(30, 300_000), (4_000, 3_000)])
def test_fat_pages_that_are_too_much_together(
    tmp_path: Path, liar: Liar, api: str, count: int, size: int
) -> None:
    """They are not held several at a time, and end in the bound of a list."""
    liar.tells(pages(count, size, most=100))
    code, text = got(tmp_path, liar, api)
    assert code == 1
    assert f"GET {'storages/' if api == 'v1' else 'v2/plugins/'}: 200 OK" in text
    assert "its pages together take more than 128 MiB" in text
    assert re.search(r"target\W+prod", text)
