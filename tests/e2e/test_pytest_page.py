"""docs/pytest.md tells the truth: its two files are tests that pass in the quickstart."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from installed import ROOT, copied, environment

PAGE = (ROOT / "docs" / "pytest.md").read_text(encoding="utf-8")


def test_the_tests_of_the_page_pass(tmp_path: Path) -> None:
    """Both, and as many as the page says."""
    folder = copied(ROOT / "examples" / "quickstart", tmp_path)
    for name, code in re.findall(
        r"^```python\n# (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL
    ):
        (folder / name).write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", "-p", "no:cacheprovider"],
        cwd=folder, env=environment({}), capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert re.search(r"\b2 passed\b", done.stdout)
    assert "`2 passed`" in PAGE
