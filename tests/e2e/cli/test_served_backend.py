"""Target embedded while `emulator` has its data: a new data set needs no `state init`."""

from __future__ import annotations

import fcntl
import shutil
from pathlib import Path

from synapse_apply import EmbeddedServer

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


def test_who_has_the_embedded_backend_is_waited_for(cli: Run, project: Path) -> None:
    """A lock that is held, exit 6; nothing is to be thrown away for it."""
    folder = project / ".synapse-apply" / "embedded"
    folder.mkdir(parents=True)
    with (folder / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        busy = cli("apply", "--auto-approve")
    assert busy.returncode == 6
    assert busy.stderr.startswith("Error: The embedded backend is in use\n")
    assert "Wait until the other run has ended" in busy.stderr
    assert "reset" not in busy.stderr
    assert cli("apply", "--auto-approve").returncode == 0


def test_a_folder_that_the_embedded_backend_cannot_have(cli: Run, project: Path) -> None:
    """Advice that fits: the option of another command and starting over are none."""
    (project / ".synapse-apply").mkdir()
    (project / ".synapse-apply" / "embedded").write_text("")
    stopped = cli("apply", "--auto-approve")
    assert stopped.returncode == 1
    assert stopped.stderr.startswith("Error: A file is not trusted")
    assert "embedded is not a folder. It was not opened." in stopped.stderr
    assert not [word for word in ("--data", "reset") if word in stopped.stderr]


def test_the_profile_that_a_reset_chooses_is_kept(cli: Run, project: Path) -> None:
    """With its state, so that the next run finds both; a reset without one goes back to the page."""
    chosen = cli("emulator", "--reset", "--profile", "vendor", "--auto-approve")
    assert chosen.returncode == 0
    assert chosen.stdout.splitlines() == [
        "There was nothing to remove.",
        "The embedded backend now has profile vendor.",
    ]
    data = project / ".synapse-apply" / "embedded"
    assert "3 to add" in cli("plan").stdout
    with EmbeddedServer(data) as server:
        assert server.backend.profile == "vendor"
    assert cli("emulator", "--reset", "--auto-approve").stdout == "Removed.\n"
    with EmbeddedServer(data) as server:
        assert server.backend.profile == "page"
    odd = cli("emulator", "--reset", "--profile", "odd", "--auto-approve")
    assert odd.returncode == 64
    assert "'page', 'vendor'" in odd.stderr
