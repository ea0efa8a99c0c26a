"""The state is gone when a call ends: what was done is kept aside, and recorded by one command."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from fault.commands import applying, ended, reaches
from fault.convergence import Row, command, converge, on_api, some
from fault.site import MakeSite, Server, Site, pending, tally

_RECOVER = re.compile(r"`synapse-apply (state record [^`]+)`")


def state_of(site: Site) -> Path:
    return site.root / ".synapse-apply" / "state" / "site.db"


def lose_state_during(
    make_site: MakeSite, server: Server, nth: int, parallelism: int = 1
) -> tuple[Site, str, int]:
    """An apply whose state goes away while its nth create is done and not yet answered."""
    site = make_site(groups=2)
    shutil.copy(state_of(site), site.root / "empty.db")
    rule = {"method": "POST", "nth": nth}
    server.faults({"match": rule, "do": {"hang": 0.3, "commit": "after"}})
    with applying(site, parallelism=parallelism) as process:
        reaches(server, process)
        state_of(site).replace(site.root / "lost.db")
        code, out, err = ended(process)
    server.faults()
    return site, out + err, code


def one_file(site: Site) -> Path:
    (found,) = (site.root / ".synapse-apply").glob("unrecorded-site-*.jsonl")
    return found


def converged(site: Site, server: Server) -> None:
    assert pending(site.plan()) == []
    assert site.open_intents() == []
    assert not tally(server, site.expected)["duplicates"]
    assert {name: [remote] for name, remote in site.records().items()} == server.ids()


@on_api("v1", "v2")
def test_one_command_records_what_was_done(api: str, make_site: MakeSite, server: Server) -> None:
    """Also a plugin of v1, which nobody can look up, and a release that was made along.

    Until then it is in a file as private as a state, without a secret.
    """
    for nth in range(1, 7) if api == "v1" else some(4, 2, turn=1):
        site, said, code = lose_state_during(make_site, server, nth)
        assert code == 7, said
        made = set(server.ids())
        assert len(made) == server.made()
        found = one_file(site)
        assert found.stat().st_mode & 0o777 == 0o600
        assert site.environ["RAW_KEY"] not in found.read_text()
        (last,) = server.requests()[-1:]
        (typed,) = set(_RECOVER.findall(said))
        (site.root / "lost.db").replace(state_of(site))
        lines = 2 if last == "POST /v2/plugins/" else 1
        assert f"Recorded: {lines}. Known before: 0." in command(site, typed)
        assert not list((site.root / ".synapse-apply").glob("unrecorded-*"))
        assert set(site.records()) == made
        assert site.open_intents() == []
        assert site.apply().code == 0
        converged(site, server)


def test_a_backup_from_before_the_run_learns_what_was_done(
    make_site: MakeSite, server: Server
) -> None:
    """The state that comes back never heard of the call, and the object is not made twice."""
    site, _, _ = lose_state_during(make_site, server, 1)
    (site.root / "empty.db").replace(state_of(site))
    command(site, f"state record -t site {one_file(site)}")
    assert site.apply().code == 0
    converged(site, server)


def test_what_the_state_knows_already_is_passed_over(make_site: MakeSite, server: Server) -> None:
    """Recovering late, or a copy of the file twice, changes nothing."""
    site, _, _ = lose_state_during(make_site, server, 1)
    copy = shutil.copy(one_file(site), site.root / "copy.jsonl")
    (site.root / "lost.db").replace(state_of(site))
    command(site, f"state record -t site {one_file(site)}")
    assert "Recorded: 0. Known before: 1." in command(site, f"state record -t site {copy}")
    assert site.apply().code == 0
    converged(site, server)


def test_the_next_run_says_that_something_is_unrecorded(
    make_site: MakeSite, server: Server
) -> None:
    """A person who did not read the report is told before anything is made twice."""
    site, _, _ = lose_state_during(make_site, server, 2)
    (site.root / "lost.db").replace(state_of(site))
    assert f"state record {one_file(site)} -t site" in command(site, "plan -t site", code=0)


def test_many_calls_at_once_are_all_kept(make_site: MakeSite, server: Server) -> None:
    """Every call that was under way is a line, and none of them is made again."""
    site, said, code = lose_state_during(make_site, server, 1, parallelism=4)
    assert code == 7, said
    made = set(server.ids())
    (site.root / "lost.db").replace(state_of(site))
    command(site, f"state record -t site {one_file(site)}")
    assert set(site.records()) == made
    # A call that was announced and never sent is unknown: a plugin of v1 is settled by hand.
    converge(site, None, Row("many calls at once"))
    converged(site, server)


def test_a_file_that_is_not_ours_changes_nothing(make_site: MakeSite, server: Server) -> None:
    """Each wrong file is an error in words, and stays where it is."""
    site, _, _ = lose_state_during(make_site, server, 1)
    (site.root / "lost.db").replace(state_of(site))
    line = json.loads(one_file(site).read_text())
    wrong = {
        "nothing.jsonl": None,
        "text.jsonl": "hello\n",
        "newer.jsonl": json.dumps({**line, "format": 2}),
        "other.jsonl": json.dumps({**line, "lineage": "another"}),
        "half.jsonl": json.dumps(line)[:-9],
        "odd.jsonl": json.dumps({**line, "intent": [1]}),
    }
    before = site.records()
    for name, text in wrong.items():
        if text is not None:
            (site.root / name).write_text(text)
        assert "Error: " in command(site, f"state record -t site {name}", code=1)
        assert (site.root / name).exists() == (text is not None)
    assert site.records() == before


RUN = "5f1c0000-0000-4000-8000-000000000000"


def test_an_empty_file_is_of_a_run_by_its_name_alone(make_site: MakeSite) -> None:
    """One of another name tells nothing, and may be anybody's; one of a run is in nobody's way."""
    site = make_site(groups=1)
    for name in (
        "notes.txt",
        f"unrecorded-other-{RUN}.jsonl",
        f"unrecorded-site-{RUN}.txt",
        f"unrecorded-site-eu-{RUN}.jsonl",
    ):
        (site.root / name).touch()
        said = command(site, f"state record -t site {name}", code=1)
        assert "Error: This file does not contain the calls of a run" in said
        assert f"{name}: it is empty." in " ".join(said.split())
        assert (site.root / name).exists()
    ours = site.root / f"unrecorded-site-{RUN}.jsonl"
    ours.touch()
    command(site, f"state record -t site {ours}")
    assert not ours.exists()


@pytest.mark.parametrize("name", ["null", f"unrecorded-site-{RUN}.jsonl"])
@pytest.mark.parametrize("to", ["/dev/null", "empty"])
def test_only_a_plain_file_is_ever_removed(make_site: MakeSite, name: str, to: str) -> None:
    site = make_site(groups=1)
    (site.root / "empty").touch()
    (site.root / name).symlink_to(to)
    said = command(site, f"state record -t site {name}", code=1)
    assert "not a regular file" in " ".join(said.split())
    assert (site.root / name).is_symlink()


@on_api("v1", "v2")
def test_the_next_apply_records_it_and_goes_on(
    api: str, make_site: MakeSite, server: Server
) -> None:
    """Of calls that are still open, where the state key signed the file; a plan says so."""
    for nth in (1, 3):  # a storage and a plugin
        site, _, _ = lose_state_during(make_site, server, nth)
        (site.root / "lost.db").replace(state_of(site))
        file = one_file(site)
        assert (
            "The next `synapse-apply apply -t site` without a saved plan records them"
            in command(site, "plan -t site")
        )
        assert file.exists()
        said = command(site, "apply -t site --auto-approve")
        assert f"Recorded from {file}: create of " in said
        assert "An earlier run could not record what it did" not in said
        assert not file.exists()
        converged(site, server)


def test_the_next_apply_leaves_other_files_alone(make_site: MakeSite, server: Server) -> None:
    """A call that is not open, as its object may be forgotten on purpose; and an unsigned file."""
    site, _, _ = lose_state_during(make_site, server, 3)
    (site.root / "lost.db").replace(state_of(site))
    file = one_file(site)
    signed = file.read_text()
    line = json.loads(signed)
    file.write_text(json.dumps({name: line[name] for name in line if name != "signature"}) + "\n")
    site.apply()
    assert file.exists()
    file.write_text(signed)
    assert "Recorded from " in command(site, "apply -t site --auto-approve")
    converged(site, server)
    address = line["intent"]["address"]
    file.write_text(signed)
    command(site, f"state rm {address} -t site")
    assert "Before you apply: " in command(site, "plan -t site")
