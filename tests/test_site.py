"""The site of the pages: `make site` builds it; here is what Zensical gets, and what is checked of it."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from installed import ROOT


@pytest.fixture(scope="module")
def site() -> ModuleType:
    spec = importlib.util.spec_from_file_location("site_of_pages", ROOT / "docs" / "site.py")
    assert spec
    assert spec.loader
    module = sys.modules["site_of_pages"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_link_of_a_page_leads_into_the_site(site: ModuleType, tmp_path: Path) -> None:
    """To a page or a file that is copied; a link out of it to a folder stays as its text."""
    stage = site.Stage(tmp_path)
    stage.write()
    assert stage.mistakes == []
    assert (tmp_path / "index.md").is_file()
    assert len([*tmp_path.rglob("*.md")]) == len(site.find_pages()) > 60
    for page in tmp_path.rglob("*.md"):
        text = re.sub(r"(?ms)^ *```.*?^ *```$|`[^`\n]+`", "", page.read_text(encoding="utf-8"))
        for link in re.findall(r"\]\(([^)\s#]+)[^)\s]*\)", text):
            if not re.match(r"[a-z]+:", link):
                assert (page.parent / link).is_file(), (page, link)


def test_a_link_that_leads_nowhere_is_a_mistake(site: ModuleType, tmp_path: Path) -> None:
    """Also where it would leave the repository; code is no link."""
    stage = site.Stage(tmp_path)
    page = ROOT / "docs" / "ci.md"
    text = "[a](gone.md) `[b](gone-too.md)` [c](../../x.md) [d](daily.md#x) [e](../schemas/v1)"
    shown = stage._rewrite(page, Path("ci.md"), text)
    assert shown.endswith("`[b](gone-too.md)` [c](../../x.md) [d](daily.md#x) e")
    assert stage.mistakes == [
        "docs/ci.md: gone.md leads nowhere",
        "docs/ci.md: ../../x.md leads nowhere",
    ]


def test_each_page_of_the_index_is_in_the_navigation(site: ModuleType) -> None:
    """In its section."""
    rows = [*site.list_nav((ROOT / "docs" / "README.md").read_text(encoding="utf-8"))]
    named = re.findall(r'"([\w-]+\.md)"', "".join(rows))
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert sorted(named) == sorted({*pages, "index.md"})


def test_broken_links_of_a_built_site_are_found(site: ModuleType, tmp_path: Path) -> None:
    """Of pages, anchors and pictures; addresses elsewhere are not asked."""
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "index.html").write_text('<h2 id="there">B</h2>')
    (tmp_path / "index.html").write_text(
        '<a href="b/#there">1</a> <a href="b/#gone">2</a> <a href="c/">3</a> <img src="p.png">'
        '<a href="https://elsewhere.example/x#y">4</a> <a href="#top">5</a><p id="top">'
    )
    broken = ["index.html: b/#gone", "index.html: c/", "index.html: p.png"]
    assert site.list_broken_links(tmp_path) == broken


def test_versions_stand_side_by_side_and_the_newest_is_first(
    site: ModuleType, tmp_path: Path
) -> None:
    """A patch takes the place of its minor version; 0.10 is newer than 0.9, in whatever order."""
    built, all_versions = tmp_path / "html", tmp_path / "site"
    built.mkdir()
    for version in ("0.9.0", "0.10.0", "0.9.1"):
        (built / "index.html").write_text(version)
        site.add_version(built, all_versions, version)
    rows = json.loads((all_versions / "versions.json").read_text())
    assert [(row["version"], row["title"], row["aliases"]) for row in rows] == [
        ("0.10", "0.10.0", ["latest"]),
        ("0.9", "0.9.1", []),
    ]
    assert (all_versions / "0.9" / "index.html").read_text() == "0.9.1"
    assert "url=0.10/" in (all_versions / "index.html").read_text()
