"""Imports run only downward, and each third-party package has one home (design section 2)."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "synapse_apply"
PARTS = {"manifests", "secrets", "packages", "planning", "applying", "client", "stores", "views"}
MAY_IMPORT = {
    "model": set(),
    "kinds": {"model"},
    "emulator": set(),
    **{part: {"model", "kinds"} for part in PARTS},
    "views": {"model"},
    "session": {"model", "kinds", "emulator", *PARTS},
    "cli": {"model", "kinds", "emulator", "session", *PARTS},
}
HOMES = {
    "yaml": {"manifests"},
    "jsonschema": {"manifests"},
    "jsonschema_rs": {"manifests"},
    "requests": {"client"},
    "urllib3": {"client"},
    "deepdiff": {"planning"},
    "pathspec": {"packages"},
    "sqlite3": {"stores"},
    "psycopg": {"stores"},
    "rich": {"views"},
    "click": {"cli"},
    "starlette": set(),
    "uvicorn": set(),
}
# What several use cases share; use cases themselves do not import one another.
SHARED_BY_USE_CASES = {
    "where",
    "declare",
    "revisions",
    "supposed",
    "before",
    "context",
    "backend",
    "reach",
    "embedded",
    "state_file",
    "surroundings",
    "unrecorded",
    "observe",
    "unseen",
    "published",
    "intents",
    "prepare",
    "takeover",
    "tasks",
    "trials",
    "sources",
    "digests",
    "plan_file",
    "carried",
    "gather",
    "inventory",
    "threads",
}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Absolute dotted names a module imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names.add(str(node.module))
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def layer(path: Path) -> str:
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else ""


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_only_downward(path: Path) -> None:
    """A module imports its own layer and those below, never a sibling or one above."""
    here = layer(path)
    if not here:
        return
    ours = {name.split(".")[1] for name in imports(path) if name.startswith("synapse_apply.")}
    packages = {name for name in ours if (PACKAGE / name).is_dir()}
    assert packages <= MAY_IMPORT[here] | {here}


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_third_party_packages_have_one_home(path: Path) -> None:
    """Each package is imported in its home alone; the emulator is a program of its own."""
    here = layer(path)
    if here == "emulator":
        return
    for name in {name.split(".")[0] for name in imports(path)} & HOMES.keys():
        assert here in HOMES[name], f"{name} is imported outside {HOMES[name]}"


def test_use_cases_do_not_import_one_another() -> None:
    """What two use cases need stands in a shared module."""
    cases = {path.stem for path in (PACKAGE / "session").glob("*.py")} - SHARED_BY_USE_CASES
    for path in (PACKAGE / "session").glob("*.py"):
        used = {
            name.split(".")[2]
            for name in imports(path)
            if name.startswith("synapse_apply.session.") and name.count(".") >= 2
        }
        assert not (used - {path.stem}) & cases, path


def test_the_engine_names_no_kind() -> None:
    """planning, applying and views know kinds by their descriptors alone."""
    for part in ("planning", "applying", "views"):
        for path in (PACKAGE / part).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    assert node.value.lower() not in {"plugin", "release", "storage"}, path


def test_the_engine_names_no_api_version() -> None:
    """What a version can do stands on Bindings; planning, applying and views know none by name."""
    for part in ("planning", "applying", "views"):
        for path in (PACKAGE / part).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    named = re.search(r"\bv[0-9]\b(?!/)", node.value)
                    assert not named, (path, node.value)


def test_every_folder_says_what_belongs_there() -> None:
    """The docstring of each package is its membership rule."""
    for path in PACKAGE.rglob("__init__.py"):
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path
