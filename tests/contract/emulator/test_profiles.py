"""Profiles: named sets of switch values, kept with the data set."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from contract.emulator.conftest import TOKEN, Wire

from synapse_apply import EmbeddedServer
from synapse_apply.emulator.core.store import DataSetError
from synapse_apply.emulator.core.switches import (
    PROFILES,
    SWITCHES,
    Switches,
    UnknownSwitchError,
    require_profile,
)
from synapse_apply.emulator.data_set import reset_data_set_if_any


@contextmanager
def serving(
    data: Path, profile: str = "", switches: Mapping[str, str] | None = None
) -> Iterator[Wire]:
    with EmbeddedServer(data, token=TOKEN, profile=profile, switches=switches) as server:
        yield Wire(server.url, {"Synapse-Access-Token": TOKEN})


def profile_of(wire: Wire) -> str:
    return wire.get("/_emulator/state/").body["profile"]


def test_a_data_set_keeps_its_profile(tmp_path):
    """The last that was named counts, until the data set is reset."""
    with serving(tmp_path, "vendor"):
        pass
    with serving(tmp_path, "", {"plugin_list": "none"}) as wire:
        assert profile_of(wire) == "vendor"
        assert wire.get("/_emulator/switches/").body["plugin_list"] == "none"
    with serving(tmp_path) as wire:  # single switches are not kept
        assert wire.get("/plugins/").status == 200
    with serving(tmp_path, "page"):
        pass
    with serving(tmp_path) as wire:
        assert profile_of(wire) == "page"
    with serving(tmp_path, "vendor"):
        pass
    reset_data_set_if_any(tmp_path)
    with serving(tmp_path) as wire:
        assert profile_of(wire) == "page"


def test_a_running_server_takes_up_another_profile(tmp_path):
    """All of it, kept with the data set; a wrong name or switch changes nothing."""
    with serving(tmp_path, "", {"put": "full"}) as wire:
        changed = wire.patch("/_emulator/switches/", {"profile": "vendor", "v2_writes": "none"})
        expected = {**Switches(profile="vendor").as_dict(), "v2_writes": "none"}
        assert (changed.status, changed.body) == (200, expected)
        for odd in ({"profile": "odd"}, {"profile": "page", "put": "odd"}):
            assert wire.patch("/_emulator/switches/", odd).status == 400
        assert wire.get("/_emulator/switches/").body == expected
    with serving(tmp_path) as wire:
        assert profile_of(wire) == "vendor"


def test_a_profile_that_does_not_exist_makes_nothing(tmp_path):
    """The message says which there are."""
    with pytest.raises(UnknownSwitchError, match="page, vendor"), serving(tmp_path / "x", "odd"):
        pass
    assert not (tmp_path / "x").exists()


def test_a_data_set_of_a_profile_that_this_version_lacks(tmp_path):
    """It is not served as something that it is not; naming another profile serves it."""
    with serving(tmp_path, "vendor"):
        pass
    with closing(sqlite3.connect(tmp_path / "data.sqlite3")) as database, database:
        database.execute("UPDATE about SET value='newer' WHERE name='profile'")
    with pytest.raises(DataSetError, match="newer"), serving(tmp_path):
        pass
    with serving(tmp_path, "page") as wire:
        assert profile_of(wire) == "page"


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_profiles_name_values_that_exist(profile):
    """And none that is the default anyway."""
    chosen = Switches(profile=profile.name).as_dict()
    for switch in SWITCHES:
        if switch.name in profile.values:
            assert chosen[switch.name] == profile.values[switch.name] != switch.default
    assert set(profile.values) <= set(chosen)


def test_what_is_only_feared_is_in_no_profile():
    """Each value of profile vendor has a source, or is said to be a guess on the page."""
    marks = {switch.name: switch.values for switch in SWITCHES}
    guessed = {
        name
        for name, value in require_profile("vendor").values.items()
        if marks[name][value] == "guessed"
    }
    assert guessed == {"job_context", "tail", "v2_dry_run"}
