"""Each fuzzer for a moment, on the same inputs every time; `make fuzz` runs them for long."""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from forking import ForkedProcess
from fuzz import watch
from fuzz.__main__ import FUZZERS
from fuzz.tool import InternalError

ROOT = Path(__file__).resolve().parents[2]
MEGABYTES_OF_AN_INPUT = 300  # of one that needs too much memory
INPUTS = {"manifests": 40, "projects": 40, "plans": 25, "answers": 8, "states": 6}


@pytest.mark.parametrize("name", FUZZERS)
def test_odd_inputs_end_in_words(tmp_path, name):
    """No internal error, nothing over 5 s or 500 MB. In a process of its own: it forks."""
    words = [name, "--seed", "1", "--inputs", str(INPUTS[name]), "--to", str(tmp_path)]
    process = ForkedProcess(
        [sys.executable, "-m", "fuzz", *words],
        cwd=ROOT / "tests", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, out + err
    assert re.search(rf"^{name} +{INPUTS[name]} inputs in .* 0 failed$", out, re.MULTILINE)


class Failing:
    """A fuzzer whose inputs say what goes wrong."""

    name = "failing"
    environment = {"ONLY": "this"}  # noqa: RUF012

    def prepare(self, folder):
        """Nothing is needed."""

    def make(self, random):
        return random.choice((b"fine", b"internal", b"memory", b"time"))

    def run(self, data, random):
        if data == b"internal":
            raise InternalError("a traceback")
        if data == b"memory":
            assert len(b"x" * (MEGABYTES_OF_AN_INPUT * 1024**2)) > 0
        if data == b"time":
            re.match(r"(a+)+$", "a" * 60 + "b")  # in C: nothing of Python's could stop it


def test_the_fuzzer_notices_what_it_looks_for(tmp_path, monkeypatch):
    """Of each kind, with the input that did it, and goes on behind it."""
    # A child begins with the memory of this process now, less what files hold.
    addresses, resident = (
        int(pages) * resource.getpagesize()
        for pages in Path("/proc/self/statm").read_text().split()[:2]
    )
    monkeypatch.setattr(watch, "_LAST_RESORT", addresses + watch._LAST_RESORT)
    # One input alone takes so long; the others compute for a moment, on a slow machine as well.
    monkeypatch.setattr(watch, "SECONDS", 2.0)
    monkeypatch.setattr(watch, "MEGABYTES", resident // 1024**2 + MEGABYTES_OF_AN_INPUT // 3)
    ended = watch.fuzzed(Failing, 7, 600, tmp_path, most=5)
    expected = [Failing().make(Random(f"failing:7:{number}")) for number in range(5)]
    assert ended.inputs == 5
    assert [one.number for one in ended.failures] == [
        at for at, data in enumerate(expected) if data != b"fine"
    ]
    assert set(expected) == {b"fine", b"internal", b"memory", b"time"}
    for failure in ended.failures:
        data = expected[failure.number]
        assert failure.file.read_bytes() == data
        said = {b"internal": "a traceback", b"memory": " MB were used", b"time": "over 2 s"}[data]
        assert said in failure.what


def test_an_input_that_failed_is_made_again_by_its_seed():
    """And another seed makes others."""
    from fuzz.manifests import Manifests

    made = [
        [Manifests().make(Random(f"manifests:{seed}:{number}")) for number in range(20)]
        for seed in (1, 1, 2)
    ]
    assert made[0] == made[1] != made[2]


def test_what_fuzzed_json_is_made_of_reaches_odd_places():
    """Numbers, texts and towers that `json` alone would not write."""
    from fuzz.json_mutations import mutated, text_of

    texts = [text_of(mutated({"a": [1, {"b": "c"}]}, Random(seed))) for seed in range(2000)]
    for odd in ("NaN", "1e400", "\\ud800", "[[[[[[", "9" * 400):
        assert any(odd in text for text in texts), odd
    assert json.loads(text_of({"a": 1})) == {"a": 1}
