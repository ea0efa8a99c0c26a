"""A saved plan was changed on its way: by another zip, other JSON, or another key's signature."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import struct
import warnings
import zipfile
from pathlib import Path

import pytest
from failing import fails
from in_process import run_command
from installed import ROOT, copied

from synapse_apply import ApprovedPlans

FOREIGN = f"packages/{'0' * 64}.zip"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A project with two plans of its embedded backend."""
    place = copied(ROOT / "examples/quickstart", tmp_path_factory.mktemp("made"))
    with contextlib.chdir(place), contextlib.redirect_stdout(io.StringIO()):
        assert run_command(["plan", "-t", "embedded", "--out", "plain"]) == 0
        assert run_command(["plan", "-t", "embedded", "--out", "second"]) == 0
    return place


@pytest.fixture
def place(made, tmp_path, monkeypatch):
    """A copy of it as the working folder."""
    shutil.copytree(made, tmp_path / "place", symlinks=True)
    monkeypatch.chdir(tmp_path / "place")
    return tmp_path / "place"


def entries_of(file):
    with zipfile.ZipFile(file) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def zipped(file, entries, *, method=zipfile.ZIP_DEFLATED, comment=b""):
    """Write a zip of (name, bytes) pairs."""
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w") as archive:
        warnings.simplefilter("ignore")
        for name, data in entries:
            archive.writestr(
                zipfile.ZipInfo(name), data, method if name == "plan.json" else zipfile.ZIP_STORED
            )
        archive.comment = comment


def listed(file, form, at, value):
    """Another number in the first row of the directory, at an offset (APPNOTE 4.3.12)."""
    data = bytearray(file.read_bytes())
    (directory,) = struct.unpack_from("<I", data, len(data) - 6)
    struct.pack_into(form, data, directory + at, value)
    file.write_bytes(data)


def cut_by_a_zero(file, entries):
    """The library shows the name up to there."""
    zipped(file, [*entries.items(), ("plan.json_.txt", b"x")])
    file.write_bytes(file.read_bytes().replace(b"plan.json_.txt", b"plan.json\0.txt"))


def added(name):
    return lambda file, entries: zipped(file, [*entries.items(), (name, b"x")])


def commented(file, entries):
    zipped(file, entries.items(), comment=b"a comment")


def prepended(file, entries):
    file.write_bytes(b"#!/bin/sh\n" + file.read_bytes())


def appended(file, entries):
    file.write_bytes(file.read_bytes() + b"more")


def two_zips(file, entries):
    """Readers that look from the front see the first, those that look from the back the second."""
    file.write_bytes(file.read_bytes() * 2)


def between(file, entries):
    """Bytes between the entries and the directory, with the offset that goes with them."""
    data = file.read_bytes()
    (at,) = struct.unpack_from("<I", data, len(data) - 6)
    data = data[:at] + b"hidden" + data[at:-6] + struct.pack("<I", at + 6) + data[-2:]
    file.write_bytes(data)


def doubled(file, entries):
    zipped(file, [*entries.items(), ("plan.json", b"{}")])


def encrypted(file, entries):
    listed(file, "<H", 8, 1)


def compressed(file, entries):
    zipped(file, entries.items(), method=zipfile.ZIP_BZIP2)


def bursting(file, entries):
    zipped(file, [("plan.json", b" " * (64 * 1024**2))])


def lying(file, entries):
    """A directory that declares another size than there is, as zip64 lets it."""
    listed(file, "<I", 24, 12)


def without_plan(file, entries):
    zipped(file, [])


STRUCTURES = {
    "a foreign file": (added("README"), "it contains README, which no plan has"),
    "a way out": (added("../../.bashrc"), "it contains ../../.bashrc, which no plan has"),
    "an absolute path": (added("/etc/passwd"), "it contains /etc/passwd, which no plan has"),
    "another case": (added("PLAN.JSON"), "it contains PLAN.JSON, which no plan has"),
    "a folder": (added("packages/"), "it contains packages/, which no plan has"),
    "no digest": (added("packages/x.zip"), "it contains packages/x.zip, which no plan has"),
    "a name that steers": (added("plan.json\u202e"), "it contains 'plan.json\\u202e'"),
    "a hidden end of a name": (cut_by_a_zero, "it contains 'plan.json\\x00.txt'"),
    "twice": (doubled, "two of its entries have the same name"),
    "a comment": (commented, "it has a comment"),
    "a script before it": (prepended, "bytes that belong to no entry"),
    "bytes after it": (appended, "bytes that belong to no entry"),
    "two zips": (two_zips, "bytes that belong to no entry"),
    "bytes in it": (between, "bytes that belong to no entry"),
    "encrypted": (encrypted, "it is encrypted"),
    "another compression": (compressed, "compressed by method 12"),
    "a bomb": (bursting, "its plan is too large"),
    "another size": (lying, "it is not a plan, or it is damaged"),
    "no plan": (without_plan, "it contains no plan.json"),
}


@pytest.mark.parametrize("case", STRUCTURES)
def test_a_zip_that_plan_does_not_write_is_refused(place, case):
    change, said = STRUCTURES[case]
    file = place / "plain"
    change(file, entries_of(file))
    with fails("InputError") as caught:
        ApprovedPlans.read([file], reviewed=False)
    (found,) = caught.value.diagnostics
    assert found.summary == "This plan file cannot be used"
    assert said in found.detail


def test_packages_in_a_plan(place):
    """No plan has them, and nobody's signature covers them."""
    file = place / "plain"
    zipped(file, [*entries_of(file).items(), (FOREIGN, b"PK")])
    with fails("InputError") as caught:
        ApprovedPlans.read([file], reviewed=False)
    assert "it contains packages" in caught.value.diagnostics[0].detail


def again(text):
    return text.replace('"format": 1,', '"format": 1, "format": 1,', 1)


JSON = {
    "a key twice": (again, "has a duplicate key"),
    "NaN": (lambda text: text.replace("{", '{"x": NaN, ', 1), "has NaN"),
    "infinity": (lambda text: text.replace("{", '{"x": -Infinity, ', 1), "has -Infinity"),
    "a tower": (
        lambda text: text.replace("{", '{"x": ' + "[" * 50_000 + "]" * 50_000 + ", ", 1),
        "nests too deeply",
    ),
    "no JSON": (lambda text: text + "}", "is not JSON"),
    "no UTF-8": (lambda text: text.encode() + b"\xff", "is not UTF-8 text"),
    "a long number": (
        lambda text: text.replace("{", '{"x": ' + "9" * 9000 + ", ", 1),
        "is not JSON",
    ),
}


@pytest.mark.parametrize("case", JSON)
def test_json_that_can_be_read_in_two_ways_is_refused(place, case):
    change, said = JSON[case]
    file = place / "plain"
    entries = entries_of(file)
    text = change(entries["plan.json"].decode())
    zipped(file, [("plan.json", text if isinstance(text, bytes) else text.encode())])
    with fails("InputError") as caught:
        ApprovedPlans.read([file], reviewed=False)
    assert f"plan.json in it {said}" in caught.value.diagnostics[0].detail


def outcome(*arguments):
    """Exit code and what was printed to stderr."""
    err = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
        code = run_command(arguments)
    return code, err.getvalue()


def list_recorded():
    """The lines of `state show`: nothing was made while there is none."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        run_command(["state", "show", "-t", "embedded"])
    return out.getvalue().splitlines()


def edited(file, edit):
    """The same zip with another plan.json."""
    entries = entries_of(file)
    document = json.loads(entries.pop("plan.json"))
    edit(document)
    zipped(file, [("plan.json", json.dumps(document).encode()), *entries.items()])


def other_key(document):
    document["signature"] = {"key_id": "0123456789abcdef", "mac": "0" * 64}


def other_plan(document):
    document["choices"]["prune"] = True


def unsigned(document):
    document["signature"] = None


SIGNATURES = {
    "by another key": ("second", other_key, "cannot be checked"),
    "of another plan": ("second", other_plan, "is wrong"),
    "none": ("plain", unsigned, "is not signed"),
}


@pytest.mark.parametrize("case", SIGNATURES)
def test_a_signature_that_is_not_ours_is_refused(place, monkeypatch, case):
    """Exit 4, each in words of its own, and nothing is sent."""
    monkeypatch.setenv("RAW_DATA_KEY_ID", "AKIA")
    which, edit, said = SIGNATURES[case]
    edited(place / which, edit)
    code, text = outcome("apply", "-t", "embedded", which, "--auto-approve")
    assert code == 4, text
    assert said in text


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("case", SIGNATURES)
def test_a_true_plan_beside_it_lends_it_nothing(place, monkeypatch, case, first):
    """Of several reviewed plans each must be genuine, and in one way; nothing of any is done."""
    monkeypatch.setenv("RAW_DATA_KEY_ID", "AKIA")
    which, edit, said = SIGNATURES[case]
    other = "plain" if which == "second" else "second"
    edited(place / which, edit)
    order = (which, other) if first else (other, which)
    typed = [word for name in order for word in ("--reviewed", name)]
    code, text = outcome("apply", "-t", "embedded", *typed)
    assert code == 4, text
    assert (said if edit is not other_plan else "created with different options") in text
    assert list_recorded() == []


def test_a_plan_that_is_given_twice(place, monkeypatch):
    """Also under another name: it is one plan, whose place among the merges nobody can tell."""
    monkeypatch.setenv("RAW_DATA_KEY_ID", "AKIA")
    shutil.copy(place / "plain", place / "copy")
    code, text = outcome("apply", "-t", "embedded", "--reviewed", "plain", "--reviewed", "copy")
    assert code == 4, text
    assert "A reviewed plan is specified more than once" in text
    assert "plain, " in text
    assert list_recorded() == []
    code, text = outcome("apply", "-t", "embedded", "--reviewed", "plain", "--reviewed", "second")
    assert code == 0, text
    assert list_recorded() != []


def test_the_true_files_are_applied(place, monkeypatch):
    """What the refusals above are measured against."""
    monkeypatch.setenv("RAW_DATA_KEY_ID", "AKIA")
    code, text = outcome("apply", "-t", "embedded", "second", "--auto-approve")
    assert code == 0, text


def test_a_pipe_is_no_plan(tmp_path: Path) -> None:
    """It is not waited for."""
    os.mkfifo(tmp_path / "pipe")
    with fails("InputError", match="cannot be used"):
        ApprovedPlans.read([tmp_path / "pipe"], reviewed=False)
