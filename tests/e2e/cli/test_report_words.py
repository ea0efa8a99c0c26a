"""What a person copies from a report stands there as code, and many refusals are closed."""

from __future__ import annotations

import re
from pathlib import Path

from .conftest import Run

FREEZE = """
policy:
  rules:
    - {rule: freeze, cron: "* * * * *", duration: 2h}
"""
STORAGE = """\
apiVersion: synapse-apply/v1
kind: Storage
metadata: {{name: s{number}}}
spec: {{name: s{number}, provider: file_system, category: {category},
       configuration: {{base_path: /data}}}}
"""


def reports(cli: Run) -> tuple[str, str]:
    """The page and the comment of a plan."""
    files = ("html=plan.html", "markdown=plan.md")
    cli("plan", *(word for file in files for word in ("--report", file)))
    return "plan.html", "plan.md"


def test_options_and_settings_are_code(cli: Run, project: Path) -> None:
    """With a button to copy them on the page, and without markup in between in the comment."""
    assert cli("apply", "--auto-approve").returncode == 0
    raw = project / "manifests" / "raw.yaml"
    raw.write_text(raw.read_text().replace("external", "internal"))
    file = project / "synapse-apply.yaml"
    file.write_text(file.read_text() + FREEZE)
    (project / "manifests" / "more.yaml").write_text(STORAGE.format(number=1, category="internal"))
    page, comment = ((project / name).read_text() for name in reports(cli))
    for text in ("--override-guard policy:freeze", "lifecycle.ignore_changes: [/category]"):
        assert f'<code class="command">{text}</code>' in page
        assert f"`{text}`" in comment
    assert "policy<span>" not in comment


def test_many_refused_rows_are_closed(cli: Run, project: Path) -> None:
    """A few are open; of many the page has a line each, and their number reads well."""
    for number, is_open in ((3, True), (60, False)):
        manifest = project / "manifests" / "many.yaml"
        for category in ("internal", "external"):
            texts = (STORAGE.format(number=n, category=category) for n in range(number))
            manifest.write_text("---\n".join(texts))
            if category == "internal":
                cli("apply", "--auto-approve")
        page, _ = ((project / name).read_text() for name in reports(cli))
        section = re.search(r'<section id="refused".*?</section>', page, re.DOTALL)
        assert section is not None
        assert section[0].count("<details") == number
        assert (" open" in section[0]) == is_open
        manifest.write_text(manifest.read_text().replace("external", "internal"))
