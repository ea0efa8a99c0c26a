"""A server that lies; and the table that ends `make test-deep`: attempts by subject, held and open."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from attack.bench import Bench, Projects, ServerBehindLiar
from attack.lying import Liar, honest
from attack.servers_of_secrets import Listener
from fault.site import TENANT, TOKEN, Server
from in_process import run_command
from waiting import repeat_at_once

from synapse_apply import EmbeddedServer


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Count the outcomes of each file of this folder; one attempt is one test."""
    outcomes: dict[str, Counter[str]] = {}
    for outcome in ("passed", "failed", "error"):
        for report in terminalreporter.stats.get(outcome, ()):
            path = Path(report.nodeid.partition("::")[0])
            if path.parent.name != Path(__file__).parent.name:
                continue
            subject = path.stem.removeprefix("test_").replace("_", " ")
            outcomes.setdefault(subject, Counter())["held" if outcome == "passed" else "open"] += 1
    if not outcomes:
        return
    total = sum(outcomes.values(), Counter())
    rows = [*sorted(outcomes.items()), ("all", total)]
    width = max(len(subject) for subject, _ in rows)
    terminalreporter.section("attacks")
    terminalreporter.write_line(f"{'subject':<{width}}  attempts  held  open")
    for subject, counts in rows:
        terminalreporter.write_line(
            f"{subject:<{width}}  {counts.total():>8}  {counts['held']:>4}  {counts['open']:>4}"
        )


@pytest.fixture
def listener() -> Iterator[Listener]:
    """A port where nobody should knock."""
    listening = Listener()
    yield listening
    listening.close()


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    data = tmp_path_factory.mktemp("backend")
    with EmbeddedServer(data, token=TOKEN, tenant=TENANT) as running:
        yield running


@pytest.fixture(scope="module")
def liar(backend: EmbeddedServer) -> Iterator[Liar]:
    with Liar(backend.url).running() as running:
        yield running


@pytest.fixture(scope="module")
def behind(liar: Liar) -> Iterator[Server]:
    with closing(ServerBehindLiar(liar)) as server:
        yield server


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> Projects:
    return Projects(tmp_path_factory.mktemp("projects"))


@pytest.fixture
def bench(
    tmp_path: Path,
    projects: Projects,
    liar: Liar,
    behind: Server,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Bench]:
    monkeypatch.chdir(tmp_path)
    repeat_at_once(monkeypatch)
    for name, value in {
        "FAULT_TOKEN": TOKEN,
        "RAW_KEY": "s3cret-of-raw",
        "HOME": "/nowhere",
    }.items():
        monkeypatch.setenv(name, value)

    def typed(command: str) -> tuple[int, str]:
        capfd.readouterr()
        code = run_command(command.split())
        out, err = capfd.readouterr()
        return code, out + err

    yield Bench(projects, liar, behind, typed)
    liar.tells(honest)
