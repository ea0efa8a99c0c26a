"""Help is quick: it imports nothing it does not need, and says all there is."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from installed import ROOT, environment
from lowest import normalize_name

from synapse_apply.cli import registry
from synapse_apply.cli.help_pages import LazyGroup, ManualCommand, import_command
from synapse_apply.cli.main import root, run

HEAVY = ("requests", "yaml", "jsonschema", "deepdiff", "sqlite3", "starlette", "rich", "logging")
MOST_MODULES_OF_VALIDATE = 151
STORAGE = """\
apiVersion: synapse-apply/v1
kind: Storage
metadata: {name: raw}
spec: {name: raw, provider: file_system, configuration: {base_path: /raw}}
"""
ALL = [
    (prefix, name, entry)
    for prefix, entries in (
        ("", registry.COMMANDS),
        *((f"{group} ", getattr(registry, group.upper())) for group in sorted(registry.GROUPS)),
    )
    for name, entry in entries.items()
]
LEAVES = [item for item in ALL if not isinstance(import_command(item[2].module), LazyGroup)]


def title(item: tuple[str, str, object]) -> str:
    return item[0] + item[1]


def test_help_imports_neither_adapters_nor_commands() -> None:
    """`synapse-apply --help` stays near click's own import time."""
    code = (
        "import sys; from synapse_apply.cli.main import run; run(['--help']);"
        "print('MODULES', *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = done.stdout.split("MODULES ")[1].split()
    assert not set(HEAVY) & set(modules)
    ours = {name for name in modules if name.startswith("synapse_apply.")}
    parts = ("", ".main", ".help_pages", ".registry")
    cli = {f"synapse_apply.cli{part}" for part in parts}
    assert ours <= cli | {"synapse_apply.model", "synapse_apply.model.frozen"}


def test_validate_imports_only_what_good_manifests_need(tmp_path: Path) -> None:
    """No HTTP library, no explanations, no reader of packages, no plan: all is valid."""
    (tmp_path / "raw.yaml").write_text(STORAGE)
    code = (
        "import sys; from synapse_apply.cli.main import run; code = run(['validate']);"
        "print('MODULES', *sys.modules); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    modules = set(done.stdout.split("MODULES ")[1].split())
    assert {"yaml", "jsonschema_rs"} <= modules
    assert not {"requests", "urllib3", "jsonschema", "deepdiff", "sqlite3"} & modules
    assert not {"synapse_apply.model.plan", "synapse_apply.model.state"} & modules
    assert not {"hashlib", "shutil", "subprocess", "zipfile"} & modules
    assert not any(name.startswith("synapse_apply.stores") for name in modules)
    # A module costs 0.2 ms: more are to be imported where they are needed.
    assert sum(name.startswith("synapse_apply") for name in modules) <= MOST_MODULES_OF_VALIDATE


distributions_by_package = cache(packages_distributions)


@pytest.mark.parametrize(
    ("words", "used"),
    [
        *(
            (words, {"click"})
            for words in (
                "--help", "--version", "version", "version --json", "completion bash",
                "plan --help", "controller --help",
            )
        ),
        ("explain storage.spec", {"click", "jsonschema-rs", "pyyaml"}),
        ("validate", {"click", "jsonschema-rs", "pyyaml"}),
    ],
)  # fmt: skip
def test_a_command_imports_the_libraries_that_it_uses(
    tmp_path: Path, words: str, used: set[str]
) -> None:
    """Of all that the extras bring, too: docs/performance.md says what each would take."""
    (tmp_path / "raw.yaml").write_text(STORAGE)
    code = (
        "import sys; from synapse_apply.cli.main import run; code = run(sys.argv[1:]);"
        "print('MODULES', *sys.modules); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words.split()], cwd=tmp_path, env=environment({}),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    loaded = {name.partition(".")[0] for name in done.stdout.rpartition("MODULES ")[2].split()}
    lock = (ROOT / "action" / "requirements.txt").read_text(encoding="utf-8")
    ours = {normalize_name(name) for name in re.findall(r"^([\w.-]+)==", lock, re.MULTILINE)}
    owners = distributions_by_package()
    found = {normalize_name(one) for name in loaded for one in owners.get(name, ())}
    assert found & ours == used


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """The whole page names each command, the exit codes and the environment."""
    assert run(["--help-all"]) == 0
    text = capsys.readouterr().out
    listed = [name for name, entry in registry.COMMANDS.items() if entry.is_listed]
    assert all(f"  {name} " in text for name in listed)
    assert "Exit codes:" in text
    assert "SYNAPSE_APPLY_LOG" in text


@pytest.mark.parametrize("item", ALL, ids=title)
def test_the_table_is_true(item: tuple[str, str, registry.CommandEntry]) -> None:
    """Each entry leads to a command of that name that says what it does."""
    _, name, entry = item
    command = import_command(entry.module)
    assert command.name == name
    assert command.help
    assert entry.summary.endswith(".")


@pytest.mark.parametrize("item", LEAVES, ids=title)
def test_every_command_has_an_example_that_could_be_typed(
    item: tuple[str, str, registry.CommandEntry],
) -> None:
    """Examples name the command and only options that it has; its help shows them."""
    prefix, name, entry = item
    command = import_command(entry.module)
    assert isinstance(command, ManualCommand)
    known = {opt for param in command.params for opt in (*param.opts, *param.secondary_opts)}
    assert any(line.startswith(f"synapse-apply {prefix}{name}") for line, _ in command.examples)
    for line, meaning in command.examples:
        assert meaning.endswith(".")
        if line.startswith(f"synapse-apply {prefix}{name}"):
            words = [word.partition("=")[0] for word in line.split() if word.startswith("-")]
            assert set(words) <= known, line


@pytest.mark.parametrize("item", LEAVES, ids=title)
def test_every_command_has_a_manual_page(
    item: tuple[str, str, registry.CommandEntry], capsys: pytest.CaptureFixture[str]
) -> None:
    """`--help` of each command ends well and shows examples."""
    assert run([*item[0].split(), item[1], "--help"]) == 0
    assert "Examples:\n  $ synapse-apply" in capsys.readouterr().out


def test_groups_are_lazy() -> None:
    """A group's table stands for its commands."""
    assert isinstance(root, LazyGroup)
    assert set(registry.GROUPS) <= set(registry.COMMANDS)
