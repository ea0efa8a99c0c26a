"""The rules of axe-core, as a script for a page."""

from __future__ import annotations

from importlib.resources import files

from playwright.sync_api import Page

_AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
_RUN = """async () => (await axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21aa",
  "wcag22aa", "best-practice"]})).violations.map(
  one => one.id + ": " + one.nodes.map(node => node.html.slice(0, 160)).join(" | "))"""


def list_violations(page: Page) -> list[str]:
    """What of a page breaks the rules: landmarks, headings, names, contrast, tables."""
    page.evaluate(_AXE)
    violations: list[str] = page.evaluate(_RUN)
    return violations
