"""`explain` of the library knows every field that docs/manifests.md has a row for."""

from __future__ import annotations

import re

import pytest
from failing import fails
from installed import ROOT, run

from synapse_apply import library

SECTIONS = {
    title: section
    for title, _, section in (
        part.partition("\n")
        for part in re.split(
            "^##+ ", (ROOT / "docs" / "manifests.md").read_text("utf-8"), flags=re.MULTILINE
        )
    )
}
RULES = re.findall(
    r"^\| `(package:\S+)` \| (\w+) \| [^|]+ \| (.+) \|$",
    (ROOT / "docs" / "packages.md").read_text("utf-8"),
    re.MULTILINE,
)
NAMES = {
    **{title: title for title in ("Plugin", "Release", "Storage")},
    "The project file": "project",
    "The policy": "policy",
    **{title: title for title in SECTIONS if re.fullmatch("[a-z_0-9]+", title)},
}


@pytest.mark.parametrize("title", NAMES)
def test_every_field_of_the_page_is_explained(title: str) -> None:
    """With the description of its schema, by the path that the page has for it, or below that."""
    rows = re.findall(r"^\| `([^`]+)` \|", SECTIONS[title], re.MULTILINE)
    assert rows or "Its keys are not documented" in SECTIONS[title]
    for row in rows:
        path = re.sub(r"\.N(?=\.|$)", "", row).removeprefix("policy.")
        found = library.explain(f"{NAMES[title]}.{path}")
        assert found["description"] or found["fields"], row
        parent = library.explain(f"{NAMES[title]}.{path}".rpartition(".")[0])
        assert path.rpartition(".")[2] in parent["fields"], row


def test_what_a_field_takes_is_told() -> None:
    """Kinds of values, those that are allowed, and what must be there."""
    spec = library.explain("storage.spec")
    assert spec["required"] == ["name", "provider", "configuration"]
    assert spec["fields"]["category"]["enum"] == ["internal", "external"]
    assert library.explain("project.targets.prod.url")["type"] == "string"
    assert library.explain("Release.spec.verify")["fields"]["timeout"]["description"]


@pytest.mark.parametrize(("rule", "level", "text"), RULES)
def test_every_rule_of_packages_is_explained(rule: str, level: str, text: str) -> None:
    """Its level, and what it asks for, as docs/packages.md has them."""
    found = library.explain(rule)
    assert (found["level"], found["text"]) == (level, text)


@pytest.mark.parametrize("name", [
    "", ".", "storage.", "storage..spec", "storage.spec.nam", "plan", "providers/gcp", "../parts",
    "parts", "package:", "storage.spec.name.below", "x" * 5000, "a\nb",
])  # fmt: skip
def test_another_name_is_an_error_that_lists_what_there_is(name: str) -> None:
    """NameNotFound, whose hint has the names of that place."""
    with fails("NameNotFound") as caught:
        library.explain(name)
    assert caught.value.diagnostics[0].hint.startswith("Known: ")


def test_a_name_is_a_text() -> None:
    with fails("InputError", match="name must be a string"):
        library.explain(["storage"])  # type: ignore[arg-type]


def explained(words: str, code: int = 0) -> str:
    """What `explain` says in a folder without a project."""
    done = run(f"explain {words}", ROOT.parent, {}, code)
    return done.stderr if code else done.stdout


def test_the_command_tells_type_values_and_fields() -> None:
    """Each field one level down with its type, whether it must be there, and its values."""
    said = explained("storage.spec")
    assert said.startswith("storage.spec (map, required)\n")
    assert "\n  name (string, required)\n      The storage's name.\n" in said
    assert "\n      One of: internal, external\n" in said
    assert "\n  config (list" not in said
    assert explained("release.spec.verify.timeout").startswith(
        "release.spec.verify.timeout (number)\n  Seconds after which the run fails"
    )
    assert "\n  Level: refused\n" in explained("package:version")


def test_the_command_explains_what_a_provider_needs() -> None:
    """The kind alone, its configuration, and a field of that."""
    said = explained("storage --provider amazon_s3")
    assert "\n  bucket_name (string, required)\n" in said
    assert "\n  secret_key (secret: {valueFrom: ...})\n" in said
    for name in ("storage.spec", "storage.spec.configuration"):
        assert explained(f"{name} --provider amazon_s3") == said
    # The vendor's other name.
    assert explained("storage.spec --provider s3") == said.replace("amazon_s3 (", "s3 (", 1)
    assert "--provider works only with `storage`" in explained(
        "storage.spec.name --provider smb", 64
    )
    field = explained("Storage.spec.configuration.bucket_name --provider amazon_s3")
    assert field == "amazon_s3.bucket_name (string, required)\n  The bucket.\n"
    assert "--provider works only with `storage`" in explained("release --provider smb", 64)


def test_the_command_suggests_what_was_meant() -> None:
    """A mistyped kind, field or provider."""
    for words, meant in (
        ("storag", "storage"),
        ("storage.spec.nam", "name"),
        ("storage --provider amazon", "amazon_s3"),
    ):
        assert f"Did you mean `{meant}`?" in explained(words, 1)
