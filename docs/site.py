"""Builds the pages as a site with search, and checks their links and anchors: `make site`.

Zensical reads one folder. So the pages of docs/, and what they link elsewhere in the repository,
are copied into it, with their links rewritten: `build/site/pages`. The site is `build/site/html`.
`make site INTO=FOLDER` then adds it, as one version, to the site of all versions in FOLDER.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from synapse_apply import __version__

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
# `toc` makes the anchors that forges make. No font is fetched from elsewhere.
SETTINGS = """\
[project]
site_name = "synapse-apply"
docs_dir = "pages"
site_dir = "html"
nav = [
{nav}
]
[project.theme]
font = false
features = ["navigation.indexes", "navigation.sections", "search.highlight", "content.code.copy"]
[project.markdown_extensions.tables]
[project.markdown_extensions.toc]
permalink = true
slugify = {{object = "pymdownx.slugs.slugify", kwds = {{case = "lower"}}}}
[project.markdown_extensions.pymdownx.highlight]
[project.markdown_extensions.pymdownx.superfences]
[[project.markdown_extensions.pymdownx.superfences.custom_fences]]
name = "mermaid"
class = "mermaid"
format = "pymdownx.superfences.fence_code_format"
"""
# The theme then shows a selector of versions, from `versions.json` above the version's folder.
SELECTOR = """\
[project.extra.version]
provider = "mike"
"""
_FENCE = re.compile(r"(?ms)^(?: *)```.*?^ *```$|`[^`\n]+`")
_LINK = re.compile(r"(\[(?:[^\[\]]|\[[^\]]*\])*\])\(([^)\s]+)\)")


def find_pages() -> dict[Path, Path]:
    """The place in the site of each page."""
    others = [*ROOT.glob("*.md"), ROOT / "action" / "README.md"]
    others += [path for path in ROOT.glob("examples/**/*.md") if ".synapse-apply" not in path.parts]
    pages = {path: path.relative_to(DOCS) for path in DOCS.rglob("*.md")}
    pages |= {path: Path("repository", path.relative_to(ROOT)) for path in others}
    return pages | {DOCS / "README.md": Path("index.md")}


def list_nav(index: str) -> Iterator[str]:
    """The sections of the index, as rows of the settings."""
    yield '"index.md",'
    for section in index.split("\n## ")[1:]:
        title = section.partition("\n")[0]
        names = re.findall(r"^- \[[^]]+\]\(([^)/]+\.md)\)", section, re.MULTILINE)
        quoted = ", ".join(f'"{name}"' for name in names)
        yield f'{{"{title}" = [{quoted}]}},'


class Stage:
    """The folder that Zensical reads."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.mistakes = folder, list[str]()
        self._places = find_pages()

    def write(self) -> None:
        """Every page with its links rewritten, and each file that a page links."""
        for page, place in self._places.items():
            text = page.read_text(encoding="utf-8")
            target = self.folder / place
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(self._rewrite(page, place, text), encoding="utf-8")

    def _rewrite(self, page: Path, place: Path, text: str) -> str:
        parts, end = [], 0
        for code in _FENCE.finditer(text):
            parts += [self._rewrite_links(page, place, text[end : code.start()]), code[0]]
            end = code.end()
        return "".join((*parts, self._rewrite_links(page, place, text[end:])))

    def _rewrite_links(self, page: Path, place: Path, text: str) -> str:
        return _LINK.sub(lambda found: self._rewrite_link(page, place, found), text)

    def _rewrite_link(self, page: Path, place: Path, found: re.Match[str]) -> str:
        link = found[2]
        if urlsplit(link).scheme or link.startswith("#"):
            return found[0]
        name, _, anchor = link.partition("#")
        path = Path(os.path.normpath(page.parent / unquote(name)))
        if (path / "README.md") in self._places:
            path /= "README.md"
        if not path.exists() or not path.is_relative_to(ROOT):
            self.mistakes.append(f"{page.relative_to(ROOT)}: {link} leads nowhere")
            return found[0]
        end = self._places.get(path) or self._copy(path)
        if end is None:  # a folder, or a hidden file: neither can be a part of the site
            return found[1][1:-1]
        relative = os.path.relpath(end, place.parent)
        return f"{found[1]}({relative}{f'#{anchor}' if anchor else ''})"

    def _copy(self, path: Path) -> Path | None:
        relative = path.relative_to(ROOT)
        if path.is_dir() or any(part.startswith(".") for part in relative.parts):
            return None
        inside = path.is_relative_to(DOCS)
        place = path.relative_to(DOCS) if inside else Path("repository", relative)
        target = self.folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        return place


class Links(HTMLParser):
    """The addresses and the anchors of a built page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links, self.anchors = set[str](), set[str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.anchors.add(found.get("id") or "")
        name = "href" if tag in ("a", "link") else "src" if tag in ("img", "script") else ""
        self.links.add(found.get(name) or "")


def list_broken_links(site: Path) -> list[str]:
    """Each link of a built page that has no file, or no such anchor, at its end."""
    pages = {path: Links(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    broken = []
    for page, found in pages.items():
        for link in sorted(found.links - {""}):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or page.name == "404.html":
                continue
            path = Path(os.path.normpath(page.parent / unquote(parts.path))) if parts.path else page
            path = path / "index.html" if path.is_dir() else path
            anchors = pages[path].anchors if path in pages else {unquote(parts.fragment)}
            if not path.is_file() or (parts.fragment and unquote(parts.fragment) not in anchors):
                broken.append(f"{page.relative_to(site)}: {link}")
    return broken


def add_version(built: Path, site: Path, version: str) -> None:
    """The built pages as a version of a site of several, whose first page leads to the newest.

    The layout is that of mike, which is all that the theme knows of it: each minor version has a
    folder, and `versions.json` names them.
    """
    name = ".".join(version.split(".")[:2])
    file = site / "versions.json"
    known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    titles = {row["version"]: row["title"] for row in known} | {name: version}
    names = sorted(titles, key=lambda text: [int(part) for part in text.split(".")], reverse=True)
    rows = [{"version": each, "title": titles[each], "aliases": []} for each in names]
    rows[0]["aliases"] = ["latest"]
    shutil.rmtree(site / name, ignore_errors=True)
    shutil.copytree(built, site / name)
    file.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    newest = f'<meta http-equiv="refresh" content="0; url={names[0]}/">'
    (site / "index.html").write_text(
        f'<!doctype html><title>synapse-apply</title>{newest}<a href="{names[0]}/">Pages</a>\n',
        encoding="utf-8",
    )


def main() -> None:
    """Stage, build, check, and add the site to that of all versions, where one is named."""
    folder, *into = map(Path, sys.argv[1:])
    shutil.rmtree(folder, ignore_errors=True)
    stage = Stage(folder / "pages")
    stage.write()
    nav = "\n".join(list_nav((DOCS / "README.md").read_text(encoding="utf-8")))
    settings = SETTINGS.format(nav=nav) + (SELECTOR if into else "")
    (folder / "zensical.toml").write_text(settings, encoding="utf-8")
    if stage.mistakes:
        sys.exit("\n".join(stage.mistakes))
    program = Path(sys.executable).with_name("zensical")
    done = subprocess.run([program, "build", "--clean", "--strict"], cwd=folder, check=False)
    if done.returncode:
        sys.exit("a link or an anchor is broken")
    if broken := list_broken_links(folder / "html"):
        sys.exit("\n".join(broken))
    count = len(list((folder / "html").rglob("*.html")))
    for site in into:
        add_version(folder / "html", site, __version__)
    sys.stdout.write(f"{(into or [folder / 'html'])[0] / 'index.html'}: {count} pages\n")


if __name__ == "__main__":
    main()
