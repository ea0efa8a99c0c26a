"""Target embedded while `emulator serve` has its data: a new data set needs no `state init`."""

from __future__ import annotations

import shutil
from pathlib import Path

from synapse_apply.emulator.serve import EmbeddedServer

from .conftest import Run


def test_a_new_data_set_gets_its_state_and_a_used_one_keeps_it(cli: Run, project: Path) -> None:
    """Nothing can be lost by a state made where nothing was ever made; else it is an error."""
    folder = project / ".synapse-apply"
    with EmbeddedServer(folder / "embedded", tenant="default"):
        assert "3 to add" in cli("plan").stdout
        assert cli("apply", "--auto-approve").returncode == 0
        shutil.rmtree(folder / "state")
        lost = cli("plan")
        assert lost.returncode == 1
        assert "do not belong together" in lost.stderr
