"""Imports run only downward, and each third-party package has one home (design section 2)."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from house.parsing import find_dotted_name_or_empty, list_nodes, parse_module

pytestmark = pytest.mark.one_process("syntax trees")
ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "synapse_apply"
PARTS = {"manifests", "secrets", "packages", "planning", "applying", "client", "stores", "views"}
MAY_IMPORT = {
    "model": set(),
    "client": {"model"},
    "kinds": {"model", "client"},
    "files": {"model"},
    "secret_sources": {"model", "files"},
    "emulator": set(),
    **{part: {"model", "kinds", "files"} for part in PARTS - {"client"}},
    "manifests": {"model", "kinds", "files", "secret_sources"},
    "secrets": {"model", "kinds", "files", "secret_sources"},
    "views": {"model"},
    "workspace": {"model", "kinds", "files", "emulator", *PARTS},
    "live": {"model", "kinds", "files", "workspace", *PARTS},
    "operations": {"model", "kinds", "files", "emulator", "workspace", "live", *PARTS},
    "library": {
        *("model", "kinds", "files", "manifests", "packages", "planning", "views"),
        *("workspace", "live", "operations"),
    },
    "controller": {
        "emulator",
        "library",
        "model",
        "files",
        "client",
        "manifests",
        "packages",
        "secrets",
        "stores",
        "views",
    },
    "cli": {
        "controller",
        "library",
        "model",
        "kinds",
        "files",
        "emulator",
        "workspace",
        "live",
        "operations",
        *PARTS,
    },
}
HOMES = {
    "yaml": {"manifests"},
    "jsonschema": {"manifests"},
    "jsonschema_rs": {"manifests"},
    "requests": {"client"},
    "urllib3": {"client"},
    "deepdiff": {"planning"},
    "packaging": {"manifests"},
    "sqlite3": {"stores", "controller"},
    "psycopg": {"stores", "controller"},
    "procrastinate": {"controller"},
    "obstore": {"stores"},
    "rich": {"views"},
    "click": {"cli"},
    "authlib": {"controller"},
    "joserfc": {"controller"},
    "starlette": {"controller"},
    "uvicorn": {"controller"},
    "jinja2": {"controller"},
    "prometheus_client": {"controller"},
}
# What several operations share; operations themselves do not import one another. `plan` and `drift`
# are what others begin with, `apply` how all that is approved is carried out.
SHARED_BY_OPERATIONS = {
    *("arguments", "connection", "saved_plan", "saved_plan_file", "steps"),
    *("plan", "plan_arguments", "health", "drift", "apply", "apply_observer"),
    *("protected_files", "state", "settle", "rekey", "accept_difference", "exceptions"),
    *("resource_sides", "import_"),
}
# Commands and what they print are made of the library alone, except for these, and why.
NOT_MADE_OF_THE_LIBRARY = {
    "commands/emulator.py": "serves and removes a data set of the embedded backend, without target",
    "commands/project.py": "begins a project and prints installed files, before there is a target",
}


# Files and pages that name commands for readers who chose no target.
NAMES_COMMANDS = {
    "manifests/decode/loading.py": "a comment in the file that it writes",
    "operations/init.py": "a comment in the manifest that it writes",
}
# What speaks of the command line alone: help.
OF_HELP = {"click.option", "manual_command"}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


@cache
def imports(path: Path) -> set[str]:
    """Absolute dotted names a module imports, anywhere in it."""
    names: set[str] = set()
    for node in list_nodes(path):
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


def test_imports_run_only_downward() -> None:
    """A module imports its own layer and those below, never a sibling or one above."""
    wrong = []
    for path in modules():
        if here := layer(path):
            ours = {n.split(".")[1] for n in imports(path) if n.startswith("synapse_apply.")}
            packages = {name for name in ours if (PACKAGE / name).is_dir()}
            wrong += [f"{path} imports {name}" for name in packages - MAY_IMPORT[here] - {here}]
    assert wrong == []


def test_kinds_name_the_client_as_a_type_alone() -> None:
    """Else every command that knows kinds would load HTTP."""
    for path in (PACKAGE / "kinds").rglob("*.py"):
        tree = parse_module(path)
        checked_only = {
            id(node)
            for block in tree.body
            if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
            for node in ast.walk(block)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith(
                "synapse_apply.client."
            ):
                assert id(node) in checked_only, (path, node.lineno)


def test_third_party_packages_have_one_home() -> None:
    """Each package is imported in its home alone; the emulator is a program of its own."""
    wrong = [
        f"{path} imports {name}, whose home is {HOMES[name]}"
        for path in modules()
        if layer(path) != "emulator"
        for name in {name.split(".")[0] for name in imports(path)} & HOMES.keys()
        if layer(path) not in HOMES[name]
    ]
    assert wrong == []


def test_the_controller_has_of_the_state_stores_only_how_postgresql_is_reached() -> None:
    """Its own store has other rows; what a URL, a refusal or a silent server means is the same."""
    used = {
        name
        for path in (PACKAGE / "controller").rglob("*.py")
        for name in imports(path)
        if name.startswith("synapse_apply.stores")
    }
    assert used
    assert {name for name in used if not name.startswith("synapse_apply.stores.postgres.")} == set()
    assert not any("postgres_database" in name for name in used)


def test_commands_use_the_library_and_nothing_below_it() -> None:
    """What they do a script can do, by the same names; values and texts are everybody's."""
    below_the_library = set()
    cli = PACKAGE / "cli"
    paths = [path for folder in ("commands", "texts") for path in (cli / folder).rglob("*.py")]
    for path in (*paths, cli / "observer.py", cli / "several_targets.py"):
        names = {name for name in imports(path) if name.startswith("synapse_apply.")}
        parts = {name.split(".")[1] for name in names}
        packages = {part for part in parts if (PACKAGE / part).is_dir()}
        if not packages <= {"cli", "controller", "library", "model", "views"}:
            below_the_library.add(str(path.relative_to(cli)))
    assert below_the_library == set(NOT_MADE_OF_THE_LIBRARY)


def test_operations_do_not_import_one_another() -> None:
    """What two operations need stands in a shared module."""
    files = list((PACKAGE / "operations").glob("*.py"))
    verbs = {path.stem for path in files} - SHARED_BY_OPERATIONS
    for path in files:
        used = {
            name.split(".")[2]
            for name in imports(path)
            if name.startswith("synapse_apply.operations.") and name.count(".") >= 2
        }
        assert not (used - {path.stem}) & verbs, path


def test_the_engine_names_no_kind() -> None:
    """planning, applying and views know kinds by their descriptors alone."""
    for part in ("planning", "applying", "views"):
        for path in (PACKAGE / part).rglob("*.py"):
            for node in list_nodes(path):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    assert node.value.lower() not in {"plugin", "release", "storage"}, path


def test_the_engine_names_no_api_version() -> None:
    """What a version can do stands on Bindings; planning, applying and views know none by name."""
    for part in ("planning", "applying", "views"):
        for path in (PACKAGE / part).rglob("*.py"):
            for node in list_nodes(path):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    named = re.search(r"\bv[0-9]\b(?!/)", node.value)
                    assert not named, (path, node.value)


def test_commands_in_what_is_printed_are_values() -> None:
    """So that each names the target of its reader (model/command.py); only --help writes them out."""
    for path in PACKAGE.rglob("*.py"):
        if str(path.relative_to(PACKAGE)) in NAMES_COMMANDS:
            continue
        tree = parse_module(path)
        bare = [
            text.value for text in _texts(tree) if re.search("`synapse-apply [a-z]", text.value)
        ]
        assert not bare, (path, bare)


def _texts(node: ast.AST) -> Iterator[ast.Constant]:
    """Texts that people may meet outside of --help: no docstring, no decorator."""
    for below in ast.iter_child_nodes(node):
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            continue
        if isinstance(below, ast.Call) and find_dotted_name_or_empty(below.func) in OF_HELP:
            continue
        if isinstance(below, ast.Constant) and isinstance(below.value, str):
            yield below
        yield from _texts(below)


def test_no_text_with_commands_is_put_into_a_format_string() -> None:
    """That makes a plain str of it, whose commands name no target any more: `+` and Text keep them."""
    # Where no text is made, there is none to be put anywhere.
    paths = [path for path in PACKAGE.rglob("*.py") if any(map(_makes_a_text, list_nodes(path)))]
    assert len(paths) > 10
    for path in paths:
        for function in list_nodes(path):
            if not isinstance(function, ast.FunctionDef):
                continue
            texts = {
                ast.unparse(target)
                for node in ast.walk(function)
                if isinstance(node, ast.Assign) and _makes_a_text(node.value)
                for target in node.targets
            }
            for node in ast.walk(function):
                if isinstance(node, ast.FormattedValue):
                    bare = _makes_a_text(node.value) or (texts and ast.unparse(node.value) in texts)
                    assert not bare, (path, node.lineno)


def _makes_a_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and find_dotted_name_or_empty(node.func) in {
        "Text", "join_texts", "lowercase_and_strip_full_stop"
    }  # fmt: skip


def test_every_folder_says_what_belongs_there() -> None:
    """The docstring of each package is its membership rule."""
    for path in PACKAGE.rglob("__init__.py"):
        assert ast.get_docstring(parse_module(path)), path


def test_child_processes_are_started_in_one_place() -> None:
    """So that each gets the environment of files/programs.py and no program of a checkout."""
    starting = re.compile(
        r"^\s*(?:import|from) (?:subprocess|multiprocessing|pty)\b|create_subprocess"
        r"|\bos\.(?:system|popen|fork|exec[lv]|spawn|posix_spawn)",
        re.MULTILINE,
    )
    found = [path for path in modules() if starting.search(path.read_text(encoding="utf-8"))]
    places = {str(path.relative_to(PACKAGE)) for path in found}
    assert places == {"files/programs.py"}


def test_the_engine_sees_no_session() -> None:
    """A session has everything: what plans, applies or prints is given values and ports instead."""
    users = {path for path in modules() if "TargetSession" in path.read_text(encoding="utf-8")}
    assert {layer(path) for path in users} <= {"workspace", "live", "operations", "library"}


def test_a_target_is_wired_in_one_place() -> None:
    """Others ask a session for the part; these names make one."""
    session = "workspace/target_session.py"
    makers = {
        "connect_backend_or_raise_without_credentials": {session},
        "SecretResolver": {session, "workspace/state_access.py"},
        "SecretStore": {session, "operations/rekey.py"},
        "build_actor": {session},
        "SourcePackages": {session},
        "choose_and_fill_target": {
            session,
            "workspace/offline_target.py",
            "operations/complete.py",
        },
    }
    callers: dict[str, set[str]] = {name: set() for name in makers}
    for path in modules():
        for node in list_nodes(path):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                callers.get(node.func.id, set()).add(str(path.relative_to(PACKAGE)))
    assert callers == makers
