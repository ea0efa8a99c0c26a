"""Paths and addresses that no file system takes are a mistake of who typed them, and no defect."""

from __future__ import annotations

import pytest
from e2e.scenarios.workplace import Server, Workplace

LONG = "a" * 5000
DEEP = "/".join(["b" * 200] * 30)
COMMANDS = """\
apply PATH
apply --reviewed PATH
bump minor PATH
controller check PATH
drift --write plugin/NAME
emulator --data PATH
export --out PATH
get plugin NAME
import -f PATH
import plugin/NAME 1
import plugin/yolo NAME
init --from PATH
get job NAME
jobs logs NAME
new storage x --out PATH
new storage NAME
package build PATH
validate PATH
package contents PATH
package show --digest PATH
package diff NAME
plan --only plugin/NAME
plan --out PATH
plan --offline --against state:PATH
plan --offline --against git:NAME
plan --report markdown=PATH
plan -f PATH
plan -t NAME
plan --var @PATH
plan --project PATH
plan --project-from git:NAME
plan --ref NAME
plan -C PATH
run NAME
run yolo --params-file PATH
show PATH
show plugin/NAME
state accept plugin/NAME --auto-approve
state backup PATH
state history show NAME
state backup --to PATH
state mv plugin/NAME plugin/x
state mv storage/raw-data storage/NAME
state record PATH --auto-approve
state restore PATH --auto-approve
state rm plugin/NAME
state settle plugin/NAME
state show plugin/NAME
state unlock NAME --auto-approve
verify release/NAME
""".splitlines()


@pytest.mark.parametrize("long", [LONG, DEEP], ids=["long", "deep"])
def test_it_is_an_error_with_a_sentence(applied: Workplace, server: Server, long: str) -> None:
    """Exit 1 or 64; nothing is made, and the state stays as it is."""
    before = server.counts, applied.run("state", "show", code=0).out
    for command in COMMANDS:
        words = [word.replace("PATH", long).replace("NAME", long) for word in command.split()]
        ran = applied.run(*words)
        assert ran.code in {1, 64}, (command, ran.text)
        assert "Error: " in ran.text, command
        assert "Errno" not in ran.text, command
        assert server.counts == before[0], command
    assert applied.run("state", "show", code=0).out == before[1]
