"""A file that knows of a call what the state does not: whoever asks about that call is told of it."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest
from fault.convergence import command, without_a_list_of_plugins
from fault.site import LATER, MakeSite, Server, Site
from fault.test_unrecorded import converged, lose_state_during, one_file, state_of

from synapse_apply import open_state
from synapse_apply.model import codec
from synapse_apply.workspace.recovery_journal import RecoveryJournal

# Of an apply of two groups: storages, plugins, releases.
PLUGIN = 3
# It is about a call that nobody can look up.
pytestmark = without_a_list_of_plugins()
WARNING = "Warning: An earlier run could not record what it did"


@pytest.fixture
def untold(make_site: MakeSite, server: Server) -> tuple[Site, str]:
    """A site whose state came back with an open create, which the file knows was done."""
    site, said, code = lose_state_during(make_site, server, PLUGIN)
    assert code == 7, said
    (site.root / "lost.db").replace(state_of(site))
    (address,) = map(str, site.open_intents())
    assert address.startswith("plugin/")
    return site, address


def rewritten(site: Site, **changes: Any) -> None:
    """The file as a run would have written it that had other contents; signed as that one was."""
    file = one_file(site)
    line = json.loads(file.read_text())
    intent = {**line["intent"], **changes.pop("intent", {})}
    record = {**line["record"], "address": intent["address"]}
    file.unlink()
    with open_state(site.where()) as context:
        lineage = changes.pop("lineage", line["lineage"])
        aside = RecoveryJournal([file.parent], "site", lineage, line["plan"], context.state_keys)
    assert not changes
    ended = (codec.intent_from_json(intent), codec.record_from_json(record))
    aside.append_call_durably_and_return_path_or_empty(
        *ended, codec.audit_entry_from_json(line["entry"])
    )


def test_settle_names_the_file_and_its_command_alone(
    untold: tuple[Site, str], server: Server
) -> None:
    """As plan does; nobody is sent to look at what is known. What it says to do is enough."""
    site, address = untold
    recover = f"state record {one_file(site)} -t site"
    said = command(site, "state settle -t site", code=7)
    assert WARNING in said
    assert WARNING in command(site, "plan -t site")
    (made,) = server.ids()[address]
    assert f"the create of {address} was done (id {made}): `synapse-apply {recover}`" in said
    assert "--absent" not in said
    told = command(site, "state settle -t site --json", code=7)
    document = json.loads(told[told.index("{") :])
    assert recover in document["diagnostics"][0]["hint"]
    (way,) = document["calls"][0]["ways_out"]
    assert recover in way
    command(site, recover)
    assert site.apply().code == 0
    converged(site, server)


def test_what_was_done_is_not_settled_as_absent(untold: tuple[Site, str], server: Server) -> None:
    """Nothing is written, and the command that records it is named; then nothing is made twice."""
    site, address = untold
    recover = f"state record {one_file(site)} -t site"
    said = command(site, f"state settle {address} --absent -t site", code=1)
    assert "This call was done, but the state does not record it yet" in said
    assert f"`synapse-apply {recover}`" in said
    assert list(map(str, site.open_intents())) == [address]
    command(site, recover)
    assert site.apply(ahead=LATER).code == 0
    converged(site, server)


def test_the_plan_names_the_file_and_its_command_alone(untold: tuple[Site, str]) -> None:
    """The row of the resource sends nobody to look at what is known."""
    site, address = untold
    said = command(site, "plan -t site")
    row = said[said.index(f"! {address}") :]
    assert "an earlier create was done, and the state does not record it yet" in row
    assert f"`synapse-apply state record {one_file(site)} -t site` records it" in row
    assert "--absent" not in said


def test_an_import_cannot_say_otherwise(untold: tuple[Site, str], server: Server) -> None:
    """Another object is refused, and nothing recorded; the one that was made is taken."""
    site, address = untold
    recover = f"state record {one_file(site)} -t site"
    (made,) = server.ids()[address]
    other = server.send("POST", "/plugins/", {"name": "Another", "code": "another"})["id"]
    said = command(site, f"import {address} {other} -t site", code=1)
    assert (
        f"the create of {address} was done (id {made}). If you settle the call with id {other}"
    ) in said
    assert f"`synapse-apply {recover}`" in said
    assert list(map(str, site.open_intents())) == [address]
    command(site, f"import {address} {made} -t site")
    assert site.open_intents() == []
    command(site, recover)
    assert not list((site.root / ".synapse-apply").glob("unrecorded-*"))


def test_a_call_of_a_later_run_counts_too(make_site: MakeSite, server: Server) -> None:
    """A backup from before that run has the same address open for another call."""
    site, _, _ = lose_state_during(make_site, server, PLUGIN)
    (site.root / "lost.db").replace(state_of(site))
    rewritten(site, intent={"id": "of-a-later-run"})
    (address,) = site.open_intents()
    said = command(site, f"state settle {address} --absent -t site", code=1)
    assert "state record " in said


@pytest.mark.parametrize(
    "changes",
    [{"intent": {"state": "failed"}}, {"lineage": "another"}, {"intent": {"address": "plugin/x",
                                                                          "id": "other"}}],
    ids=["not-done", "another-state", "another-call"],
)  # fmt: skip
def test_what_no_file_tells_is_settled_on_the_users_word(
    untold: tuple[Site, str], changes: dict[str, object]
) -> None:
    """A file that tells of something else does not stand in the way, nor one that is broken."""
    site, address = untold
    rewritten(site, **changes)
    assert "--absent" in command(site, "state settle -t site", code=7)
    command(site, f"state settle {address} --absent -t site")
    assert site.open_intents() == []


def test_a_file_that_cannot_be_read_is_warned_of_and_no_more(untold: tuple[Site, str]) -> None:
    """Nobody knows what it tells: settling is the user's word again, and no plan speaks of it."""
    site, address = untold
    one_file(site).write_text("{")
    for typed, code in (("state settle -t site", 7), ("state show -t site", 0)):
        said = command(site, typed, code=code)
        assert "A file is not a list of a run's calls" in said
        assert "is not signed" not in said
    assert one_file(site).name not in command(site, "plan -t site")
    command(site, f"state settle {address} --absent -t site")


def test_a_file_that_a_killed_run_left_empty_lists_no_call(untold: tuple[Site, str]) -> None:
    """It says nothing of the open call, and its command removes it."""
    site, _ = untold
    file = one_file(site)
    file.write_text("")
    for typed in ("plan", "state show", "doctor"):
        said = command(site, f"{typed} -t site")
        assert "An earlier run left an empty file" in said
        assert f"`synapse-apply state record {file} -t site` removes the file." in said
        assert WARNING not in said
    command(site, f"state record {file} -t site")
    assert "empty file" not in command(site, "plan -t site")


def test_state_list_tells_what_settles_a_call(untold: tuple[Site, str]) -> None:
    """The file where it knows; else not the next apply, where a backend may be unable to tell."""
    site, address = untold
    file = one_file(site)
    listed = command(site, "state show -t site")
    assert WARNING in listed
    assert f"Outcome unknown: {address}. {file} says that the create of {address}" in listed
    shutil.move(file, site.root / "elsewhere.jsonl")
    listed = command(site, "state show -t site")
    assert WARNING not in listed
    assert "The next apply looks it up" not in listed
    for words in (f"`synapse-apply state settle {address} -t site` asks this one",
                  f"if it is there: `synapse-apply import {address} ID -t site`",
                  f"if it is not: `synapse-apply state settle {address} --absent -t site`."):  # fmt: skip
        assert words in listed


def test_state_list_leaves_to_apply_what_it_can_look_up(
    make_site: MakeSite, server: Server
) -> None:
    """A storage is found by its name."""
    site, _, _ = lose_state_during(make_site, server, 1)
    (site.root / "lost.db").replace(state_of(site))
    one_file(site).unlink()
    said = command(site, "state show -t site")
    assert "Outcome unknown: storage/storage-0. The next apply looks it up.\n" in said
