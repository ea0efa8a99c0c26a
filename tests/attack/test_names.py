"""Names in a package and in manifests that deceive who reviews them, or the system that unpacks."""

from __future__ import annotations

import contextlib
import io
import json
import zipfile

import pytest
from in_process import run_command

MANIFEST = """\
apiVersion: synapse-apply/v1
kind: Plugin
metadata: {{name: p}}
spec: {{name: P, code: p}}
---
apiVersion: synapse-apply/v1
kind: Release
spec: {{plugin: p, version: 1.0.0, {source}}}
"""


def outcome(*arguments):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run_command(arguments)
    return code, out.getvalue(), err.getvalue()


@pytest.fixture(params=["folder", "zip"])
def packaged(request, tmp_path, monkeypatch):
    """Makes a project whose package has files of the given names."""
    monkeypatch.chdir(tmp_path)

    def make(*names):
        (tmp_path / "manifests").mkdir()
        source = "source: ./package" if request.param == "folder" else "file: package.zip"
        (tmp_path / "manifests" / "p.yaml").write_text(MANIFEST.format(source=source))
        with zipfile.ZipFile(tmp_path / "package.zip", "w") as archive:
            for name in ("config.yaml", *names):
                archive.writestr(
                    zipfile.ZipInfo(name), "name: P\n" if name == "config.yaml" else "x"
                )
                file = tmp_path / "package" / name
                if request.param == "folder":
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_text("name: P\n" if name == "config.yaml" else "x")
        return outcome("validate", "--json", "-t", "embedded")

    return make


def findings(answer):
    code, out, _ = answer
    found = json.loads(out)["diagnostics"]
    # What the package's config.yaml lacks is not this page's.
    return code, [one for one in found if not one.get("rule", "").startswith("package:")]


DECEIVING = [
    "main\u202egp.py", "a\u2066b.py", "a\u2069", "\u202aa", "conf\u200big.yaml", "a\u200d.py", "a\u200c.py",
    "a\u200e", "a\u200f", "\ufeffmain.py", "a\u2060b", "a\u061cb", "a\u00adb", "a\u180eb", "a\U000e0041b",
    "a\u2028b", "a\u3164", "a\u115fb", "a\u034fb", "d\u200b/main.py",
]  # fmt: skip


@pytest.mark.parametrize("name", DECEIVING, ids=ascii)
def test_a_name_that_deceives_is_refused_and_shown_as_what_it_is(packaged, name):
    code, found = findings(packaged(name))
    assert code == 1
    (one,) = [one for one in found if one["severity"] == "error"]
    assert one["summary"] == "Unsafe name in the package"
    assert "invisible or reorder" in one["detail"]
    assert name not in one["detail"]
    assert ascii(name) in one["detail"]


ON_WINDOWS = {
    "con": "is the name of a device",
    "aux.py": "is the name of a device",
    "d/NUL .tar.gz": "is the name of a device",
    "COM1": "is the name of a device",
    "lpt\u00b9.txt": "is the name of a device",
    "CONIN$": "is the name of a device",
    "a.": "ends in a dot or a space",
    "d /main.py": "ends in a dot or a space",
    "ab:c": "has :",
    'what?"<now>.py': 'has " < > ?',
    "*.py": "has *",
    "a|b": "has |",
}


@pytest.mark.parametrize("name", ON_WINDOWS)
def test_a_name_that_windows_cannot_have_is_a_warning(packaged, name):
    code, found = findings(packaged(name))
    (one,) = found
    assert (code, one["severity"]) == (0, "warning")
    assert one["summary"] == "Names that Windows does not allow"
    assert f"{name} {ON_WINDOWS[name]}." in one["detail"]


@pytest.mark.parametrize(
    "name",
    [
        "console.py",
        "com10",
        "auxiliary",
        "a.b",
        "é.py",
        "한국어.py",
        "naïve",
        "❤️.png",
        "nul_",
        "x.con",
    ],
)
def test_usual_names_are_fine(packaged, name):
    code, found = findings(packaged(name))
    assert (code, found) == (0, [])


@pytest.mark.parametrize(
    "names",
    [
        ("A.py", "a.py"),
        ("caf\u00e9", "cafe\u0301"),
        ("a", "a."),
        ("d/x", "D /x"),
        ("straße", "STRASSE"),
    ],
)
def test_two_names_that_are_one_somewhere_are_refused(packaged, names):
    code, found = findings(packaged(*names))
    assert code == 1
    assert "Names collide in the package" in {one["summary"] for one in found}


def test_a_part_that_no_system_can_hold(tmp_path, monkeypatch):
    """Only a zip can have it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests" / "p.yaml").write_text(MANIFEST.format(source="file: package.zip"))
    with zipfile.ZipFile("package.zip", "w") as archive:
        archive.writestr("config.yaml", "name: P\n")
        archive.writestr("x" * 256, "")
    code, found = findings(outcome("validate", "--json", "-t", "embedded"))
    assert code == 1
    assert "longer than 255 bytes" in found[0]["detail"]


HIDDEN = [
    "\u202e",
    "\u2066",
    "\u200b",
    "\u200d",
    "\u200c",
    "\ufeff",
    "\u2060",
    "\ufe0f",
    "\U000e0041",
    "\u180b",
    "\u180f",
    "\u2800",
    "\U0001bca0",
    "\U0001d173",
]


@pytest.mark.parametrize("char", HIDDEN, ids=ascii)
@pytest.mark.parametrize(
    "place",
    [
        "name: a{0}b",
        "code: a{0}b",
        "description: 'a{0}b'",
        "author: 'a{0}b'",
        "category: 'a{0}b'",
        "a{0}b: c",
    ],
)
def test_what_a_manifest_hides_is_shown(tmp_path, monkeypatch, char, place):
    """In every text that people read of it, as an escape."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "manifests").mkdir()
    spec = place.format(char)
    rest = "".join(f"\n  {key}: x" for key in ("name", "code") if not spec.startswith(f"{key}:"))
    (tmp_path / "manifests" / "p.yaml").write_text(
        f"apiVersion: synapse-apply/v1\nkind: Plugin\nmetadata: {{name: p, labels: {{l: 'a{char}b'}}}}\nspec:\n  {spec}{rest}\n"
    )
    for command in (["validate"], ["plan", "-t", "embedded"]):
        _, out, err = outcome(*command, "-t", "embedded")
        assert char not in out + err
