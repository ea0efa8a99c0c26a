"""The unit of examples/controller: what it starts is there, and what it closes stays closed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from click.testing import CliRunner
from installed import ROOT

from synapse_apply.cli.main import root

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


def test_the_unit_closes_what_a_controller_does_not_need() -> None:
    """Each key of the list, as it is; nobody is root."""
    found = read_service()
    assert {key: found.get(key) for key in CLOSED} == CLOSED
    assert found["User"] == found["Group"] == "synapse-apply"


def test_the_unit_starts_the_controller_and_lets_it_end() -> None:
    """The command parses, its data is what systemd makes, and a stop tells the controller alone."""
    found = read_service()
    program, *words = found["ExecStart"].split()
    assert Path(program).name == "synapse-apply"
    done = CliRunner().invoke(root, [*words, "--help"])
    assert (done.exit_code, words[:2]) == (0, ["controller", "run"]), done.output
    assert words[-2:] == ["--data", f"/var/lib/{found['StateDirectory']}"]
    assert (found["KillMode"], found["ExecReload"]) == ("mixed", "/bin/kill -HUP $MAINPID")
    assert "DynamicUser" not in found  # its folder is a link, which the controller refuses


def test_systemd_calls_the_unit_safe() -> None:
    """At most 2.0 of 10, where there is systemd; elsewhere the list above stands alone."""
    program = shutil.which("systemd-analyze")
    if program is None:
        return
    words = ["security", "--offline=true", "--no-pager", "--threshold=20", str(UNIT)]
    done = subprocess.run(
        [program, *words], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
