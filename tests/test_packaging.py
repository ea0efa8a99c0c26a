"""What is shipped: a wheel that works anywhere, a source archive one can build and test from."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from installed import ROOT, copied, environment

import synapse_apply

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SCHEMAS = {path.relative_to(ROOT / "schemas") for path in (ROOT / "schemas").rglob("*.json")}


def build(kind: str, to: Path) -> Path:
    """Build without network: the build backend is a development tool."""
    subprocess.run(
        [sys.executable, "-m", "build", f"--{kind}", "--no-isolation", "--outdir", str(to), "."],
        cwd=ROOT,
        env=environment({}),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return next(to.iterdir())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", tmp_path_factory.mktemp("wheel"))


def test_the_wheel_carries_the_schemas(wheel: Path) -> None:
    """The bytes of schemas/ are in it, all of them."""
    with zipfile.ZipFile(wheel) as archive:
        packed = {
            Path(name).relative_to("synapse_apply/_schemas"): archive.read(name)
            for name in archive.namelist()
            if name.startswith("synapse_apply/_schemas/")
        }
    assert packed == {path: (ROOT / "schemas" / path).read_bytes() for path in SCHEMAS}


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    """Every module, style and script, the type marker and the licence; no test, no leftover of a run."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "synapse_apply").rglob("*.py")}
    assert modules <= names
    assert {f"synapse_apply/views/html/page.{end}" for end in ("css", "js")} <= names
    assert "synapse_apply/py.typed" in names
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    roots = {name.split("/")[0] for name in names}
    assert roots == {"synapse_apply", f"synapse_apply-{synapse_apply.__version__}.dist-info"}
    assert not [name for name in names if "__pycache__" in name or ".synapse-apply" in name]


def test_an_installed_wheel_finds_its_schemas(wheel: Path, tmp_path: Path) -> None:
    """Away from the checkout, the package validates a project with the schemas it carries."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    folder = copied(ROOT / "examples" / "quickstart", tmp_path)
    code = (
        "import sys, synapse_apply; from synapse_apply.cli.main import run; "
        "print(synapse_apply.__file__); sys.exit(run(['validate', '--strict']))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=folder,
        env=environment({"PYTHONPATH": str(tmp_path / "site")}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.splitlines()[0] == str(tmp_path / "site" / "synapse_apply" / "__init__.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1].startswith("Valid: ")


def test_the_source_archive_can_be_built_and_tested_from(tmp_path: Path) -> None:
    """Package, schemas, tests, examples and pages are in it; environments and states are not."""
    with tarfile.open(build("sdist", tmp_path)) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"pyproject.toml", "README.md", "LICENSE", "Makefile", "constraints.txt",
              "tests/test_packaging.py", "examples/quickstart/synapse-apply.yaml",
              "docs/emulator.md"}  # fmt: skip
    assert wanted <= names
    assert {f"schemas/{path}" for path in SCHEMAS} <= names
    assert not [name for name in names if name.startswith(".venv") or ".synapse-apply" in name]


def test_the_version_stands_in_one_release(wheel: Path) -> None:
    """pyproject, the package and the wheel's name say the same version."""
    assert PROJECT["project"]["version"] == synapse_apply.__version__
    assert wheel.name.startswith(f"synapse_apply-{synapse_apply.__version__}-py3-none-any")


def test_every_development_tool_and_dependency_is_pinned() -> None:
    """constraints.txt pins what pyproject asks for, so that every clone gets the same."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {line.partition("==")[0].lower().replace("_", "-") for line in lines}
    asked = [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["dev"], "pip"]
    names = {name_of(text) for text in asked}
    assert names <= pinned


def name_of(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found, requirement
    return found.group().lower().replace("_", "-")
