"""CONTRIBUTING.md names every file to touch for a kind, a field, a source, a report, a command.

Its lists are held to one thing of each sort that is there already. A name that a file holds as a
whole string, or a module that it imports, shows that the file would have to be touched.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from house.parsing import find_dotted_name_or_empty, list_nodes
from installed import ROOT

pytestmark = pytest.mark.one_process("syntax trees")
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PACKAGE = ROOT / "synapse_apply"
# What is said of storages alone and would not be said of another kind, and why.
STORAGES_ALONE = {
    "synapse_apply/manifests/schemas.py": "providers, which other kinds do not have",
    "synapse_apply/client/storage_files.py": "files of releases in a storage of the platform",
    "synapse_apply/emulator/jobs.py": "where the platform keeps the files of jobs",
}
# Commands that show single objects of a kind: by choice, and not by being a kind.
OBJECT_COMMANDS = (
    "synapse_apply/cli/commands/show.py",
    "synapse_apply/cli/registry.py",
    "synapse_apply/cli/texts/objects.py",
    "synapse_apply/library/target_live.py",
)


def list_paths(heading: str, **names: str) -> set[str]:
    """The files of one list, with the names put in."""
    section = PAGE.partition(f"\n### {heading}")[2].partition("\n##")[0]
    rows = re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)
    assert len(rows) >= 3, heading
    for name, value in names.items():
        rows = [row.replace(name, value) for row in rows]
    return set(rows)


def find_modules(is_about: Callable[[ast.AST], bool]) -> set[str]:
    """The modules with a part that is about a thing."""
    return {
        str(path.relative_to(ROOT))
        for path in PACKAGE.rglob("*.py")
        if any(is_about(node) for node in list_nodes(path))
    }


def is_string(node: ast.AST, *texts: str) -> bool:
    return isinstance(node, ast.Constant) and node.value in texts


def iter_possibly_imported_module_paths(node: ast.ImportFrom) -> Iterator[str]:
    yield from (f"{node.module}.{alias.name}" for alias in node.names)
    yield str(node.module)


def find_schemas(word: str) -> set[str]:
    """Schemas that have this word as a whole word of a text or a name, and that people write."""
    generated = (ROOT / "docs" / "generate.py").read_text(encoding="utf-8").partition("\nPAGES")[2]
    return {
        str(path.relative_to(ROOT))
        for path in (ROOT / "schemas" / "v1").glob("*.json")
        if path.name not in generated
        and re.search(rf'"{word}(?:\.schema\.json)?"|[(|]{word}[|)]', path.read_text("utf-8"))
    }


def require_complete(listed: set[str], needed: set[str], word: str) -> None:
    """Each file that needs a change is listed, and each listed one is there and has the word."""
    assert needed - listed == set(), "CONTRIBUTING.md does not list them"
    for path in listed:
        assert (ROOT / path).is_file(), path
        text = (ROOT / path).read_text(encoding="utf-8")
        assert re.search(word, f"{Path(path).name}\n{text}", re.IGNORECASE), path


def test_the_files_of_a_kind() -> None:
    """All that names storages, by their name, their module or their calls."""

    def is_about_storages(node: ast.AST) -> bool:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            return re.search(r"(?:^|_)storages?(?:_|$)", node.name) is not None
        if isinstance(node, ast.ImportFrom):
            return any(
                re.search(r"\.(?:kinds|decode|emulator)\.storages?(?:$|\.urls$)", name)
                for name in iter_possibly_imported_module_paths(node)
            )
        return is_string(node, "storage", "Storage", "storages")

    needed = find_modules(is_about_storages) | find_schemas("(?:storage|Storage)")
    needed = {path for path in needed if not path.startswith(OBJECT_COMMANDS)}
    listed = list_paths("Add a kind", NAME="storage")
    require_complete(listed, needed - set(STORAGES_ALONE), "storage")


def test_the_files_of_a_field() -> None:
    """All that names a field which nothing treats in a way of its own."""
    needed = find_modules(lambda node: is_string(node, "requirements"))
    needed |= find_schemas("requirements")
    require_complete(list_paths("Add a field", KIND="release"), needed, "requirements")


def test_the_files_of_a_source_of_secrets() -> None:
    """All that asks a reference for its source, and where the module of one is imported."""

    def asks_for_source(node: ast.AST) -> bool:
        return (
            isinstance(node, ast.Compare)
            and isinstance(node.left, ast.Attribute)
            and node.left.attr == "source"
            and any(is_string(part, "env", "file") for part in ast.walk(node))
        )

    def imports_source(node: ast.AST) -> bool:
        return isinstance(
            node, ast.ImportFrom
        ) and "synapse_apply.secret_sources.file.FILE" in iter_possibly_imported_module_paths(node)

    needed = find_modules(asks_for_source) | find_modules(imports_source)
    needed |= {"schemas/v1/parts.schema.json"}
    require_complete(list_paths("Add a source of secrets", NAME="file"), needed, r"\bfile\b")


def test_the_files_of_a_kind_of_report() -> None:
    """All that names it, and what is imported to render it."""
    needed = find_modules(lambda node: is_string(node, "codequality"))
    needed |= {"synapse_apply/views/ci.py"}
    require_complete(list_paths("Add a kind of report"), needed, "code.?quality")


def test_the_files_of_a_command() -> None:
    """All that defines it or lists it, and every module that is called as it is."""

    def defines_command(node: ast.AST) -> bool:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return re.search(r"^ +bump +package +[A-Z]", node.value, re.MULTILINE) is not None
        is_definition = (
            isinstance(node, ast.Call) and find_dotted_name_or_empty(node.func) == "manual_command"
        )
        return is_definition and is_string(node.args[0], "bump")

    needed = find_modules(defines_command)
    assert len(needed) == 2
    needed |= {str(path.relative_to(ROOT)) for path in PACKAGE.rglob("bump.py")}
    require_complete(list_paths("Add a command", NAME="bump"), needed, "bump")


@pytest.mark.parametrize("path", STORAGES_ALONE)
def test_exceptions_are_of_use(path: str) -> None:
    """What is no part of the list of a kind is there."""
    assert (ROOT / path).is_file()


def test_all_that_is_black_box_is_there(pytestconfig: pytest.Config) -> None:
    """A file that was renamed would be marked no more."""
    conftest = pytestconfig.pluginmanager.get_plugin(str(ROOT / "tests" / "conftest.py"))
    assert conftest is not None
    files = [str(path) for path in (ROOT / "tests").rglob("test_*.py")]
    for start in conftest.BLACKBOX_PATHS:
        assert any(file.startswith(start) for file in files), start
