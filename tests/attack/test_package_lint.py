"""A package of a hostile checkout, looked into: it takes no time, shows no secret, ends nothing."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from counting import calls_of

from synapse_apply import open_target
from synapse_apply.model.secrets.credentials import list_one_unallowed_credential_per_line
from synapse_apply.packages.ignore import PublisherRules
from synapse_apply.packages.lint import iter_possibly_imported_module_paths
from synapse_apply.views.json.documents import failure_document
from synapse_apply.views.text.findings import render_diagnostics

CONFIG = "name: Y\ncode: y\nversion: 1.0.0\n"
TOKEN = "ghp_" + "Ab3dE6gH" * 4 + "Zz90"
SIZE = 512 * 1024


def check(folder: Path, files: dict[str, str]) -> tuple[str, list[str | None]]:
    """All that is said of a package, as text and as JSON, and the rules of it."""
    for name, text in {"config.yaml": CONFIG, **files}.items():
        path = folder / "p" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
    with open_target(folder=folder) as target:
        found = target.packages.check_package("p")
    document = failure_document("package check", found, 1, tool_version="")
    text = render_diagnostics(found, color=False) + json.dumps(document)
    return text, [one.rule for one in found]


@pytest.mark.parametrize("piece", [
    "a", "token", "token=", 'token = "', "API_KEY: str = ", "secret" + " " * 20, "eyJ", "-eyJaaaaaaaaaa",
    "eyJaaaaaaaaaa.", "AKIA", "://a:", "://" + "a" * 99 + ":", "-----BEGIN ", "-----BEGIN RSA RSA ",
    "AccountKey=" + "A" * 80, "glpat-", "sk-proj-", "xox", "password=aB3!aB3!\n", "pypi-AgE",
    "# pragma: allowlist secret\n", f"{TOKEN} ", f"{TOKEN}\n", "key=\u0130", "SG." + "a" * 20 + ".",
])  # fmt: skip
def test_no_text_takes_long_to_be_searched(piece: str) -> None:
    """Half a MiB of what each expression nearly matches."""
    text = piece * (SIZE // len(piece))
    begun = time.process_time()
    list_one_unallowed_credential_per_line(text)
    assert time.process_time() - begun < 60


@pytest.mark.parametrize(
    "piece", ["from a import (", "import a, ", "from . import a\n", "from ", "\n" * 9]
)
def test_no_code_takes_long_to_be_followed(piece: str) -> None:
    """Imports without an end, and a great many of them."""
    text = piece * (SIZE // len(piece))
    begun = time.process_time()
    for _ in iter_possibly_imported_module_paths(text, "plugin/a.py"):
        pass
    assert time.process_time() - begun < 60


def test_no_ignore_file_takes_long_to_be_matched() -> None:
    """Thousands of patterns with wildcards, for thousands of files."""
    rules = PublisherRules(["\n".join(f"*{'a*' * 20}{n}" for n in range(5000))])
    begun = time.process_time()
    for n in range(1000):
        rules.find_pattern_excluding_path_or_part(f"plugin/{'a' * 50}/{n}.py")
    assert time.process_time() - begun < 60


@pytest.mark.parametrize("line", [
    "category: {}", "description: [{}]", "data_type: {}", "actions: {{a: {}}}", "{}: 1",
    "actions: {{a: {{entrypoint: {}}}}}", "actions: {{a: {{entrypoint: 'x.{}'}}}}",
    "actions: {{{}: x}}", "dependencies: {{a: {}}}", "dependencies: {{{}: 1.0}}", "requires: {{sdk: {}}}",
    "requires: {{{}: '1'}}", "env: {}", "env: {{X: {}}}", "env: {{{}: 1}}", "tags: {}", "smart_tool: {}",
    "supported_annotation_tools: {{{}: []}}", "container: {{enabled: true, dockerfile: {}}}",
    "wheels_dir: {}\nwheels_dir: {}", "variant: {}", "package_manager: {}", "annotation_type: {}",
    "runtime_env: {{env_vars: {{A: {{B: [{}]}}}}}}", "- {}", "version: {}",
])  # fmt: skip
def test_a_secret_in_any_field_is_shown_nowhere(line: str, tmp_path: Path) -> None:
    """Neither as a value that is refused nor as a key that is unknown; and it is told of."""
    text = CONFIG.replace("version: 1.0.0\n", "") if line.startswith("version") else CONFIG
    said, rules = check(tmp_path, {"config.yaml": text + line.replace("{}", TOKEN).format()})
    assert TOKEN not in said
    assert "package:secret" in rules


@pytest.mark.parametrize("files", [
    {"config.yaml": "{" * 2000}, {"config.yaml": CONFIG + "env: " + "{a: " * 400 + "1" + "}" * 400},
    {"config.yaml": "- a\n"}, {"config.yaml": CONFIG + "---\na: 1\n"}, {"config.yaml": "\ufeff" + CONFIG},
    {"config.yaml": CONFIG + "x: &a [1]\ny: *a\n"}, {"config.yaml": "x" * 1_100_000},
    {"config.yaml": CONFIG + "actions: {a: {entrypoint: '" + "a." * 300_000 + "!'}}\n"},
    {"config.yaml": CONFIG + "dependencies: {a: '" + ">=1," * 100_000 + "'}\n"},
    {"config.yaml": CONFIG + "".join(f"key{n}: 1\n" for n in range(5000))},
    {"config.yaml": CONFIG + "actions: {'\u202e\x85': {entrypoint: 'a\u2028:b'}}\n"},
    {"requirements.txt": "a" * 400_000}, {"requirements.txt": "a[" * 200_000},
    {"plugin/a.py": f"{TOKEN}\n" * 10_000},
])  # fmt: skip
def test_nothing_in_a_package_ends_its_check(files: dict[str, str], tmp_path: Path) -> None:
    """Findings, few of a kind, in little time."""
    begun = time.process_time()
    said, rules = check(tmp_path, files)
    assert time.process_time() - begun < 60
    assert all(rules.count(rule) <= 20 for rule in rules if rule)
    assert TOKEN not in said


@pytest.mark.parametrize(
    ("line", "is_pinned"),
    [("foo[x]{}y", False), ("foo[x]{}==1{}y", False), ("foo[x] ({}=={}1{})", True)],
)
def test_a_requirement_with_blanks_of_any_length(
    line: str, is_pinned: bool, tmp_path: Path
) -> None:
    """It is read once: at each of its splits that would be hours."""
    text = line.replace("{}", " " * 150_000)
    said, _ = check(tmp_path, {"requirements.txt": text})
    assert ("no version is pinned for foo" in said) is not is_pinned


@pytest.mark.parametrize("module", ["b0." + "c" * 4000, "plugin", "env.a", ".", ".x"])
def test_names_of_an_import_are_looked_up_only_where_the_package_has_them(
    module: str, tmp_path: Path
) -> None:
    """A hundred times the names are no more calls; `env` is left out of each package."""

    def calls(count: int) -> int:
        names = ", ".join(f"n{n}" for n in range(count))
        code = f"import env\nfrom {module} import {names}\n"
        files = {"env/a.py": "", "plugin/a.py": code}
        said = list[str]()
        called = calls_of(lambda: said.append(check(tmp_path / str(count), files)[0]))
        assert "env/, which is imported here, is excluded" in said[0]
        return called

    calls(1)
    assert calls(20_000) < calls(200) + 1000


def test_a_name_of_an_import_that_is_left_out(tmp_path: Path) -> None:
    """It is found behind a great many others, and its line is told."""
    names = ", ".join(f"n{n}" for n in range(20_000))
    code = f"# A\n\nfrom . import {names}, build\nfrom plugin.build import a\n"
    said, _ = check(tmp_path, {"plugin/build/a.py": "", "plugin/a.py": code})
    assert "plugin/a.py:3:1" in said
    assert said.count("plugin/build/, which is imported here, is excluded") == 2
