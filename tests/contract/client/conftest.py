"""The embedded backend as a program of its own, and a client of it."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from openers import get_opener_without_proxy

from synapse_apply import BackendClient

TOKEN = "contract-token"


@pytest.fixture(scope="session")
def backend_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL the program says it listens on; one program for all tests of a worker."""
    data = tmp_path_factory.mktemp("backend")
    command = [sys.executable, "-m", "synapse_apply.emulator", "serve", "--port", "0"]
    command += ["--data", str(data), "--token", TOKEN, "--job-seconds", "0.05"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        try:
            assert program.stdout is not None
            line = program.stdout.readline()
            assert line.startswith("listening on http"), line
            yield line.removeprefix("listening on ").strip()
        finally:
            program.terminate()
            program.wait(60)


@pytest.fixture
def client(backend_url: str) -> Iterator[BackendClient]:
    with BackendClient(backend_url, api_token=TOKEN) as made:
        yield made


@pytest.fixture
def steer(backend_url: str) -> Callable[[str, str, dict[str, Any]], Any]:
    """Calls the backend's own endpoints, which no real one has."""

    def call(method: str, path: str, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(
            f"{backend_url}/{path}",
            data=json.dumps(body).encode(),
            method=method,
            headers={"Authorization": f"Token {TOKEN}", "Content-Type": "application/json"},
        )
        with get_opener_without_proxy().open(request) as answer:
            return json.load(answer)

    return call


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package whose bytes nothing looks into."""
    import zipfile

    path = tmp_path / "plugin.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.yaml", "name: p\ncode: p\nversion: 1.0.0\n")
    return path
