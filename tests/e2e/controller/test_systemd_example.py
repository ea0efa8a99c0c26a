"""The unit of examples/controller: what it starts is there, and what it closes stays closed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from in_process import run_in_process
from installed import ROOT, environment

UNIT = ROOT / "examples" / "controller" / "synapse-apply-controller.service"
CLOSED = {
    "ProtectSystem": "strict",
    "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX",
    "SystemCallArchitectures": "native",
    "SystemCallFilter": "@system-service ~@privileged",
    "CapabilityBoundingSet": "",
    "AmbientCapabilities": "",
    "ProtectProc": "invisible",
    "KeyringMode": "private",
    "UMask": "0077",
    "StateDirectoryMode": "0700",
    **dict.fromkeys(
        [
            "NoNewPrivileges",
            "ProtectHome",
            "PrivateTmp",
            "PrivateDevices",
            "PrivateUsers",
            "PrivateIPC",
            "ProtectClock",
            "ProtectHostname",
            "ProtectControlGroups",
            "ProtectKernelLogs",
            "ProtectKernelModules",
            "ProtectKernelTunables",
            "RestrictNamespaces",
            "RestrictRealtime",
            "RestrictSUIDSGID",
            "RemoveIPC",
            "LockPersonality",
            "MemoryDenyWriteExecute",
        ],
        "yes",
    ),
}


def read_service() -> dict[str, str]:
    """The keys of [Service]; one that stands there twice has both values."""
    section = UNIT.read_text("utf-8").partition("\n[Service]\n")[2].partition("\n[")[0]
    found: dict[str, str] = {}
    for line in section.splitlines():
        if line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found[key] = f"{found[key]} {value}" if key in found else value
    return found


def test_the_unit_closes_what_a_controller_does_not_need():
    """Each key of the list, as it is; nobody is root."""
    found = read_service()
    assert {key: found.get(key) for key in CLOSED} == CLOSED
    assert found["User"] == found["Group"] == "synapse-apply"


def test_the_unit_starts_the_controller_and_lets_it_end():
    """The command parses, its data is what systemd makes, and a stop tells the controller alone."""
    found = read_service()
    program, *words = found["ExecStart"].split()
    assert Path(program).name == "synapse-apply"
    done = run_in_process([*words, "--help"], ROOT, environment({}))
    assert (done.returncode, words[:2]) == (0, ["controller", "run"]), done.stderr
    assert words[-2:] == ["--data", f"/var/lib/{found['StateDirectory']}"]
    assert (found["KillMode"], found["ExecReload"]) == ("mixed", "/bin/kill -HUP $MAINPID")
    assert "DynamicUser" not in found  # its folder is a link, which the controller refuses


def analyze(words: list[str], unit: Path) -> subprocess.CompletedProcess[str] | None:
    """What systemd says of a unit; None where there is no systemd, and the list above stands alone."""
    program = shutil.which("systemd-analyze")
    if program is None:
        return None
    return subprocess.run(
        [program, *words, str(unit)], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.published
def test_systemd_calls_the_unit_safe(tmp_path):
    """At most 2.0 of 10; it finds one that closes less."""
    words = ["security", "--offline=true", "--no-pager", "--threshold=20"]
    done = analyze(words, UNIT)
    assert done is None or done.returncode == 0, done.stdout + done.stderr
    open_unit = tmp_path / UNIT.name
    lines = UNIT.read_text("utf-8").splitlines(keepends=True)
    open_unit.write_text("".join(line for line in lines if not line.startswith("Protect")))
    found = analyze(words, open_unit)
    assert found is None or found.returncode


@pytest.mark.published
def test_systemd_knows_each_key_of_the_unit(tmp_path):
    """All that it misses here is the program; a mistyped key is found."""
    for text, unknown in (
        (UNIT.read_text("utf-8"), False),
        ("[Service]\nProtectSystme=yes\n", True),
    ):
        unit = tmp_path / UNIT.name
        unit.write_text(text)
        if done := analyze(["verify"], unit):
            said = (done.stdout + done.stderr).splitlines()
            others = [line for line in said if "is not executable" not in line]
            assert bool(others) == unknown, others
