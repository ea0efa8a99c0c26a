"""The pages are current, complete, and name only what exists."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
from installed import ROOT

from synapse_apply.cli.main import root
from synapse_apply.kinds.catalogue import CATALOGUE

PAGES = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").rglob("*.md"),
    *(path for path in (ROOT / "examples").rglob("*.md") if ".synapse-apply" not in path.parts),
]
SAYING = [
    *PAGES,
    *(ROOT / "examples").rglob("*.yml"),
    *(ROOT / "examples").rglob("*.sh"),
    *(ROOT / "synapse_apply").rglob("*.py"),
]

# The head of a package's content list; a line of a plan.
NO_COMMANDS = {"synapse-apply package 1", "synapse-apply will perform the following actions:"}


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec
    assert spec.loader
    module = sys.modules["generate"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "page",
    [
        "commands.md",
        "manifests.md",
        "ci.md",
        "library.md",
        "controller-reference.md",
        "faults.md",
        "mcp.md",
        "policy.md",
        "controller-messages.md",
        "../ARCHITECTURE.md",
        "llms.txt",
        "../schemas/v1/controller-api.schema.json",
    ],
)
def test_generated_pages_are_current(page: str, generator: ModuleType) -> None:
    """The page in the repository is what the code gives: else run `make docs`."""
    assert (ROOT / "docs" / page).read_text(encoding="utf-8") == generator.PAGES[page]()


def test_the_joined_file_has_every_page_whole(generator: ModuleType) -> None:
    """Once, each below its name, no translation; `make docs` writes it, and Git does not keep it."""
    joined = generator.joined_pages()
    docs = ROOT / "docs"
    pages = {*docs.rglob("*.md")} - {docs / "README.md", *(docs / "ko").rglob("*.md")}
    assert len(pages) > 30
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert joined.count(f"<!-- {shown(page)} -->\n\n{text}\n") == 1, page
    assert "/docs/llms-full.txt" in (ROOT / ".gitignore").read_text(encoding="utf-8").split()


def test_the_skill_says_what_it_is_and_never_applies() -> None:
    """It has the head that agents look for; of commands that write it names none to be run."""
    text = (ROOT / "docs" / "skill" / "SKILL.md").read_text(encoding="utf-8")
    assert re.match(r"---\nname: synapse-apply\ndescription: \S.{50,900}\n---\n", text)
    typed = re.findall(r"^synapse-apply (\w+)", text, re.MULTILINE)
    assert set(typed) == {"validate", "plan", "show", "drift", "doctor"}
    assert "Never run `synapse-apply apply`" in text


def every_command(
    group: click.Group = root, prefix: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None
        yield (*prefix, name), found
        if isinstance(found, click.Group):
            yield from every_command(found, (*prefix, name))


COMMANDS = dict(every_command())
# A message names it where it is needed.
UNLISTED = {
    ("controller", "accept-push"), ("controller", "forget-rule"), ("schema",), ("state", "rebind"), ("state", "record"), ("version",),
}  # fmt: skip


def test_every_command_and_option_is_described() -> None:
    """docs/commands.md has a section for each command that names each of its options."""
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    for name, command in COMMANDS.items():
        if name in UNLISTED:
            continue
        section = page.partition(f"\n## synapse-apply {' '.join(name)}\n")[2].partition("\n## ")[0]
        assert section, name
        for option in command.params:
            if isinstance(option, click.Option) and not option.hidden:
                assert option.opts[-1] in section, (name, option.opts)


def property_names(schema: Any) -> Iterator[str]:
    """Every property a schema names, at any depth, those never allowed left out."""
    if isinstance(schema, dict):
        for name, below in schema.get("properties", {}).items():
            if below != {"not": {}} and "const" not in below:
                yield name
        for below in schema.values():
            yield from property_names(below)
    elif isinstance(schema, list):
        for below in schema:
            yield from property_names(below)


@pytest.mark.parametrize(
    "schema", ["plugin", "release", "storage", "project", "policy", "providers/*"], ids=str
)
def test_every_field_is_described(schema: str) -> None:
    """docs/manifests.md has a row for each property of the schemas."""
    page = (ROOT / "docs" / "manifests.md").read_text(encoding="utf-8")
    rows = {found.rpartition(".")[2] for found in re.findall(r"^\| `([^`]+)`", page, re.MULTILINE)}
    short = {"id", "plugin", "release", "storage", "*"}  # inside {id: 123} and api: {plugin: v1}
    for file in (ROOT / "schemas" / "v1").glob(f"{schema}.schema.json"):
        names = set(property_names(json.loads(file.read_text(encoding="utf-8"))))
        assert names - short <= rows, file.name


def test_no_field_is_described_twice() -> None:
    """A table of docs/manifests.md has one row for a field."""
    page = (ROOT / "docs" / "manifests.md").read_text(encoding="utf-8")
    for section in re.split(r"^#+ ", page, flags=re.MULTILINE):
        rows = re.findall(r"^\| `([^`]+)`", section.replace("[]", ".N"), re.MULTILINE)
        assert sorted(set(rows)) == sorted(rows), section.partition("\n")[0]


def test_every_rule_of_the_policy_is_explained() -> None:
    """docs/policy.md has a row for each, in the order of the schema."""
    page = (ROOT / "docs" / "policy.md").read_text(encoding="utf-8")
    section = page.partition("\n## The rules\n")[2].partition("\n## ")[0]
    schema = json.loads((ROOT / "schemas" / "v1" / "policy.schema.json").read_text("utf-8"))
    known = schema["properties"]["rules"]["items"]["properties"]["rule"]["enum"]
    assert re.findall(r"^\| `([^`]+)`", section, re.MULTILINE) == known


def test_every_setting_of_the_controller_is_explained() -> None:
    """docs/manifests.md has a row for each key of controller.yaml that has an effect."""
    schema = json.loads((ROOT / "schemas" / "v1" / "controller.schema.json").read_text("utf-8"))
    page = (ROOT / "docs" / "manifests.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([^`]+)`", page.partition("\n## controller.yaml\n")[2], re.MULTILINE)
    named = {found.rpartition(".")[2] for found in rows}
    assert set(used_property_names(schema)) - {"env", "file"} - named == set()


def used_property_names(node: Any) -> Iterator[str]:
    """The properties below a schema that no later version is needed for."""
    if isinstance(node, list):
        for item in node:
            yield from used_property_names(item)
    elif isinstance(node, dict) and not node.get("x-later"):
        for name, schema in node.get("properties", {}).items():
            if not schema.get("x-later"):
                yield name
        for key, below in node.items():
            if key != "required":
                yield from used_property_names(below)


def test_relative_links_lead_somewhere() -> None:
    """Each link of a page to a file of the repository has a file at its end."""
    links = [
        (page, target)
        for page in PAGES
        for target in re.findall(
            r"\]\(([^)\s]+)\)",
            re.sub(r"(?ms)^```.*?^```$", "", page.read_text(encoding="utf-8")),
        )
        if not re.match(r"[a-z]+:", target)
    ]
    ends = [(page, link, (page.parent / link.partition("#")[0]).resolve()) for page, link in links]
    assert len(ends) > 100
    assert not [
        f"{shown(page)}: {link}"
        for page, link, path in ends
        if not path.exists() or not path.is_relative_to(ROOT)
    ]


def mentions(text: str) -> Iterator[tuple[str, list[str]]]:
    """Command lines that a text tells people to type, as a whole and as words."""
    spans = re.findall(r"`(synapse-apply [^`\n]+)`", text)
    lines = re.findall(r"^(?:\s*(?:- run: |\$ )?)(synapse-apply [^\n]+)$", text, re.MULTILINE)
    isolated = re.findall(r"python3? -I -m (synapse_apply [a-z][^\n]+)", text)
    for line in (*spans, *lines, *isolated):
        yield line, re.sub(r"\{[^}]*\}|\s[#|].*", " ", line).split()[1:]


def find_unknown(text: str) -> Iterator[str]:
    """Lines of a text that tell people to type what is no command, or has no such option."""
    for line, words in mentions(text):
        if line in NO_COMMANDS or not words or not re.fullmatch(r"[a-z]+", words[0]):
            continue  # COMMAND, or an option of the program itself
        name = next((n for n in (tuple(words[:end]) for end in (3, 2, 1)) if n in COMMANDS), None)
        if name is None:
            yield f"no such command: {line}"
            continue
        known = {o for p in COMMANDS[name].params for o in (*p.opts, *p.secondary_opts)} | {
            "--help"
        }
        for word in words[len(name) :]:
            is_option = re.fullmatch(r"--?[a-z][a-z-]*(=.*)?", word)
            if is_option and word.partition("=")[0] not in known:
                yield f"{name} has no {word}: {line}"


def test_commands_that_people_are_told_to_type_exist() -> None:
    """Pages and the hints of messages name only commands and options that there are."""
    assert [*find_unknown("Run `synapse-apply nothing` or `synapse-apply plan --nothing`.")] == [
        "no such command: synapse-apply nothing",
        "('plan',) has no --nothing: synapse-apply plan --nothing",
    ]
    assert len(SAYING) > 100
    assert not [
        f"{shown(path)}: {wrong}"
        for path in SAYING
        for wrong in find_unknown(path.read_text(encoding="utf-8"))
    ]


def list_named_files(page: Path) -> list[str]:
    """Paths of the package, the tests or the schemas that a page names."""
    if page.is_relative_to(ROOT / "examples"):
        return []  # their manifests/ and plugins/ are their own
    named = re.findall(
        r"`((?:synapse_apply|tests|schemas|model|kinds|manifests|secrets|packages|planning|applying"
        r"|client|stores|views|session|emulator|cli)/[\w/.]*)`",
        page.read_text(encoding="utf-8"),
    )
    return [name for name in named if not {"NAME", "KIND"} & set(re.findall("[A-Z]{4}", name))]


def test_files_that_pages_name_exist() -> None:
    """Of the package, the tests and the schemas; but for two of a user's project."""
    assert not [
        f"{shown(page)}: {name}"
        for page in PAGES
        for name in list_named_files(page)
        if name not in {"manifests/", "secrets/raw-data.key"}
        and not (ROOT / name).exists()
        and not (ROOT / "synapse_apply" / name).exists()
    ]


def test_the_index_has_every_page_once() -> None:
    """docs/README.md leads to each page of docs/, with a line on what is there."""
    text = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^- \[[^]]+\]\(([^)/]+\.md)\): \S", text, re.MULTILINE)
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert sorted(listed) == sorted(pages)


def test_the_picture_of_the_readme_is_small() -> None:
    """A PNG of at most 150 kB, so that a clone stays light."""
    picture = (ROOT / "docs" / "plan.png").read_bytes()
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(picture) <= 150_000


def test_the_architecture_page_names_every_part() -> None:
    """Each folder of the package has its place on the page."""
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    folders = {path.parent.name for path in (ROOT / "synapse_apply").glob("*/**/__init__.py")}
    assert len(folders) > 40
    assert not [name for name in folders if f"{name}/" not in page]


@pytest.mark.parametrize(("page", "most"), [("README.md", 200), ("ARCHITECTURE.md", 150)])
def test_first_pages_are_short(page: str, most: int) -> None:
    """Who reads a page at one sitting reads it at all."""
    assert (ROOT / page).read_text(encoding="utf-8").count("\n") <= most


def test_the_classes_of_the_glossary_exist() -> None:
    """A class that ARCHITECTURE.md names is one of the package, by that name."""
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([A-Z][a-z]+(?:[A-Z][a-z]+)+)`", page))
    defined = {
        name
        for path in (ROOT / "synapse_apply").rglob("*.py")
        for name in re.findall(r"^class (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert len(named) > 20
    assert named - defined == set()


def test_the_kinds_of_the_readme_are_those_of_the_catalogue() -> None:
    """Its table says yes and no as the newest binding of each kind does."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.partition("\n## Kinds\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines()]
    shown = {row[0]: (row[3][:3], row[4][:3], row[5]) for row in rows[3:] if len(row) == 6}
    real = {}
    for kind in CATALOGUE.values():
        binding = kind.select_newest_binding({"*": "v1"})
        update = "yes" if binding.update_object else "nev" if kind.series_field else "no"
        real[kind.kind] = ("yes", update, "yes" if binding.delete_object else "no")
    assert shown == real


def test_every_field_of_the_format_is_supported() -> None:
    """No row of docs/manifests.md takes a field back; the README has limits of what fields do."""
    page = (ROOT / "docs" / "manifests.md").read_text(encoding="utf-8")
    assert "| `spec.name`" in page
    assert "ot supported by this version" not in page


def test_nothing_is_left_to_do_in_the_package() -> None:
    """What is unfinished is written down in an issue, not in the code."""
    left = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    for path in (ROOT / "synapse_apply").rglob("*.py"):
        assert not left.search(path.read_text(encoding="utf-8")), path


def test_the_threat_model_names_every_attack() -> None:
    """Each file of attacks stands on one of its pages, and each test that they name is there."""
    pages = [ROOT / "docs" / f"{name}.md" for name in ("security", "security-servers")]
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    shown_by = set(re.findall(r"`(tests/\S+\.py)`", text))
    assert {name for name in shown_by if not (ROOT / name).is_file()} == set()
    attacks = {shown(path) for path in (ROOT / "tests" / "attack").glob("test_*.py")}
    assert attacks - shown_by == set()
