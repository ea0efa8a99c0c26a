"""Where the command cannot run it says so, in place of an import that fails."""

from __future__ import annotations

import subprocess
import sys


def test_windows_gets_a_sentence() -> None:
    """With what to use instead, exit code 1 and no traceback."""
    code = "import sys; sys.platform = 'win32'; from synapse_apply.cli.start import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == "Error: Windows is not supported"
    assert "WSL 2" in done.stderr
    assert "Traceback" not in done.stderr
