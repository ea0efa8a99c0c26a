"""What is shipped: a wheel that works anywhere, a source archive one can build and test from."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest
from in_process import run
from installed import ROOT, copied, environment
from lowest import find_lowest_versions, list_constraints, normalize_name
from packaging.requirements import Requirement

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
    assert {f"synapse_apply/views/html/page.{end}" for end in ("html", "css", "js")} <= names
    templates = (ROOT / "synapse_apply" / "controller" / "page" / "templates").iterdir()
    assert {str(path.relative_to(ROOT)) for path in templates} <= names
    assert "synapse_apply/py.typed" in names
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    roots = {name.split("/")[0] for name in names}
    ours = f"synapse_apply-{synapse_apply.__version__}"
    assert roots == {"synapse_apply", f"{ours}.dist-info", f"{ours}.data"}
    assert not [name for name in names if "__pycache__" in name or ".synapse-apply" in name]


def test_the_wheel_has_what_shells_complete(wheel: Path) -> None:
    """For each shell what `synapse-apply completion` prints, where the shell looks; `make docs` writes it."""
    folder = f"synapse_apply-{synapse_apply.__version__}.data/data/share"
    places = {
        "bash": "bash-completion/completions/synapse-apply",
        "zsh": "zsh/site-functions/_synapse-apply",
        "fish": "fish/vendor_completions.d/synapse-apply.fish",
    }
    with zipfile.ZipFile(wheel) as archive:
        packed = {shell: archive.read(f"{folder}/{at}").decode() for shell, at in places.items()}
        shared = [name for name in archive.namelist() if ".data/" in name]
    assert packed == {s: run(f"completion {s}", ROOT, {}).stdout for s in places}
    assert len(shared) == len(places)


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
              "docs/emulator.md", "action/requirements.txt",
              "completions/_synapse-apply", "renovate/releases.json"}  # fmt: skip
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
    groups = PROJECT["dependency-groups"].values()
    asked = [
        *PROJECT["project"]["dependencies"],
        *(one for group in groups for one in group),
        "pip",
    ]
    names = {normalize_name(text) for text in asked if isinstance(text, str)}
    assert names <= pinned


def read_lock(path: Path) -> dict[str, tuple[str, int]]:
    """The packages of a lock: the pin, and how many hashes of files it has."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    rows = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    found = {}
    for pin, *rest in rows:
        hashes = [word for word in rest if re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", word)]
        found[normalize_name(pin)] = (pin, len(hashes))
    return found


LOCK = read_lock(ROOT / "action" / "requirements.txt")


def needed_by(requirements: list[str], environment: dict[str, str]) -> set[str]:
    """All packages that an installation comes to, by what is installed here."""
    found: set[str] = set()
    left = [Requirement(text) for text in requirements]
    while left:
        one = left.pop()
        for extra in one.extras or {""}:
            found.add(normalize_name(one.name))
            for text in distribution(one.name).requires or ():
                further = Requirement(text)
                holds = further.marker is None or further.marker.evaluate(
                    {**environment, "extra": extra}
                )
                if holds and normalize_name(further.name) not in found:
                    left.append(further)
    return found


@pytest.mark.parametrize("system", ["linux", "darwin"])
@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_the_lock_has_all_that_is_installed(system: str, version: str) -> None:
    """The package, its extras and its build come to what the lock has, on each system and Python."""
    extras = [t for texts in PROJECT["project"]["optional-dependencies"].values() for t in texts]
    build = PROJECT["build-system"]["requires"]
    asked = [*PROJECT["project"]["dependencies"], *extras, *build]
    environment = {
        "sys_platform": system,
        "python_version": version,
        "python_full_version": f"{version}.0",
    }
    assert needed_by(asked, environment) <= set(LOCK)


def test_the_lock_pins_what_the_constraints_pin() -> None:
    """The same versions as development has, each with a hash: after a change run `make lock`."""
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    pinned = {normalize_name(pin): pin.partition("==")[2] for pin in pins}
    assert {name: pin.partition("==")[2] for name, (pin, _) in LOCK.items()} == {
        name: pinned[name] for name in LOCK
    }
    assert [name for name, (_, hashes) in LOCK.items() if not hashes] == []
    for name in ("httptools", "jsonschema-rs", "pyyaml", "psycopg-binary", "rpds-py"):
        assert LOCK[name][1] >= 12, name  # two systems, two processors, three Pythons
    other = ROOT / "examples" / "gitops" / ".gitlab" / "requirements.txt"
    assert other.read_bytes() == (ROOT / "action" / "requirements.txt").read_bytes()


def test_each_dependency_has_a_lowest_version_that_is_tested() -> None:
    """`make lowest` installs the lower bound of every dependency, and all else as it is pinned."""
    lowest = find_lowest_versions()
    constraints = set(list_constraints())
    asked = {normalize_name(text) for text in PROJECT["project"]["dependencies"]}
    assert asked < set(lowest)
    assert {f"{name}=={version}" for name, version in lowest.items()} <= constraints
    assert len(constraints) == len((ROOT / "constraints.txt").read_text("utf-8").split())


def test_the_page_says_what_each_library_costs() -> None:
    """Each that pyproject.toml asks for, once for each extra, and no other; `make release-check` prints it."""
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    table = page.partition("<!-- libraries: begin -->")[2].partition("<!-- libraries: end -->")[0]
    rows = re.findall(
        r"^\| ([\w-]+) \| (?:all|`\[(\w+)\]`) \| \S+ \| [\d.]+ \| [\d.]+ \(\d+\) \| \d+ \|$",
        table,
        re.MULTILINE,
    )
    project = PROJECT["project"]
    extras = {"": project["dependencies"], **project["optional-dependencies"]}
    asked = [(Requirement(text).name, extra) for extra, texts in extras.items() for text in texts]
    assert sorted(rows) == sorted(asked)
    assert set(re.findall(r"^- `\[(\w+)\]`: ", table, re.MULTILINE)) == {*extras} - {""}
