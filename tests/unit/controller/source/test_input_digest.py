"""Which commits a target does not notice: those that change nothing that it could be read from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from counting import calls_of

from synapse_apply.controller.source.committed_project import CommittedFile, InputRegions

FOLDERS = {
    "dev": ("common", "tenants/dev"),
    "prod": ("common/", "./tenants/prod"),
    "all": (".",),
    "above": ("../shared",),
}
BASE = {
    "common/a.yaml": "1",
    "tenants/dev/a.yaml": "1",
    "tenants/dev/deep/b.yml": "1",
    "tenants/prod/a.yaml": "1",
    "plugins/x/main.py": "1",
}


def compute(
    target: str,
    changes: Mapping[str, str | None],
    modes: Mapping[str, str] | None = None,
    folders: Mapping[str, Sequence[str]] = FOLDERS,
) -> str:
    contents = {**BASE, **changes}
    files = [
        CommittedFile((modes or {}).get(path, "100644"), content, path)
        for path, content in contents.items()
        if content is not None
    ]
    return InputRegions(files, folders).digest_readable_files(target)


@pytest.mark.parametrize(
    ("path", "content", "unaware"),
    [
        ("tenants/dev/a.yaml", "2", {"prod", "above"}),
        ("tenants/dev/deep/b.yml", "2", {"prod", "above"}),
        ("tenants/dev/a.yaml", None, {"prod", "above"}),
        ("tenants/prod/new.yaml", "1", {"dev", "above"}),
        ("common/a.yaml", "2", {"above"}),
        ("plugins/x/main.py", "2", set()),
        ("README.md", "1", set()),
    ],
)
def test_who_is_touched(path, content, unaware):
    """All but those whose manifests are in other folders."""
    same = {target for target in FOLDERS if compute(target, {}) == compute(target, {path: content})}
    assert same == unaware


@pytest.mark.parametrize(
    ("path", "mode"),
    [
        ("tenants/dev/plugin/main.py", "100644"),
        ("tenants/dev/plugin/config.yaml", "100644"),
        ("tenants/dev/.hidden/secrets.yaml", "100644"),
        ("plugins/link", "120000"),
        ("tenants/dev/link.yaml", "120000"),
    ],
)
def test_a_folder_that_could_hold_more_than_manifests_counts_for_all(path, mode):
    """A package, a secret, and whatever a link may lead to."""
    more = {path: "1"}
    before = compute("prod", more, {path: mode})
    assert compute("prod", {**more, "tenants/dev/a.yaml": "2"}, {path: mode}) != before


def test_the_order_of_files_and_targets_counts_for_nothing():
    files = [CommittedFile("100644", content, path) for path, content in BASE.items()]
    again = InputRegions(files[::-1], dict(reversed(FOLDERS.items())))
    assert again.digest_readable_files("dev") == InputRegions(files, FOLDERS).digest_readable_files(
        "dev"
    )


def test_only_what_lies_above_is_read_above():
    regions = InputRegions([], FOLDERS)
    assert [target for target in FOLDERS if regions.reads_outside(target)] == ["above"]


def test_a_name_is_not_taken_for_a_content():
    """Two files never look like two others with the same letters."""
    first = InputRegions([CommittedFile("100644", "ab", "c")], {"t": (".",)})
    second = InputRegions([CommittedFile("100644", "a", "bc")], {"t": (".",)})
    assert first.digest_readable_files("t") != second.digest_readable_files("t")


def test_ten_thousand_targets_with_a_folder_each():
    """Each costs what it lists, and not what all others list."""

    def digest(count: int) -> None:
        files = [
            CommittedFile("100644", f"{number}", f"tenants/t{number}/a.yaml")
            for number in range(count)
        ]
        folders = {f"t{number}": ("common", f"tenants/t{number}") for number in range(count)}
        regions = InputRegions(files, folders)
        digests = {regions.digest_readable_files(target) for target in folders}
        assert len(digests) == count

    digest(10_000)
    assert calls_of(lambda: digest(2_000)) < 2.5 * calls_of(lambda: digest(1_000))


def test_a_folder_beside_one_with_a_longer_name():
    """`a` is not taken for the beginning of `a-b`, `a.b` and `a0`."""
    names = ("a", "a-b", "a.b", "a/b", "a0")
    base = [CommittedFile("100644", "1", f"{name}/x.yaml") for name in names]
    folders = {name: (name,) for name in names}
    before = {name: InputRegions(base, folders).digest_readable_files(name) for name in names}
    for changed in names:
        files = [
            file._replace(object_id="2") if file.path == f"{changed}/x.yaml" else file
            for file in base
        ]
        after = InputRegions(files, folders)
        touched = {name for name in names if after.digest_readable_files(name) != before[name]}
        assert touched == ({changed, "a"} if changed == "a/b" else {changed})
