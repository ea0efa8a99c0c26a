"""What a state, or a file that tells of calls, says is believed only when its key signed it."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from attack.two_targets import Backends, Checkout, backends, checkout

from synapse_apply.model.address import Address
from synapse_apply.model.state import Intent, IntentState, Record
from synapse_apply.secrets.keys import StateKey, StateKeys
from synapse_apply.secrets.signatures import RunSigner
from synapse_apply.workspace.recovery_journal import RecoveryJournal

RELEASE, OTHER = "release/yolo@1.0.0", "release/sam@1.0.0"
FOREIGN = StateKey(b"f" * 32, "somewhere else")
FOREIGN_TEXT = base64.b64encode(b"f" * 32).decode()
REFUSED = f"! {RELEASE} cannot be created: target staging must have verified it first, but"
PLAN = "5f1c0000-0000-4000-8000-000000000000"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backends]:
    with backends(tmp_path_factory.mktemp("backends")) as running:
        yield running


@pytest.fixture(scope="module")
def verified(servers: Backends, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """Both releases were verified on staging; their bytes are the same."""
    made = checkout(tmp_path_factory.mktemp("verified") / "p", servers.urls, "yolo", "sam")
    made.run("apply -t staging --auto-approve")
    return made


@pytest.fixture
def site(verified: Checkout, tmp_path: Path) -> Checkout:
    """A copy that a test may spoil."""
    return verified.copied(tmp_path / "project")


def alter(site: Checkout, address: str = RELEASE, **changes: str | None) -> None:
    """The record's last run with other values; None takes one out."""
    record = site.record("staging", address)
    run = {**record["verification"], **changes}
    record["verification"] = {name: value for name, value in run.items() if value is not None}
    site.write_record("staging", address, record)


def signed_by(site: Checkout, keys: StateKeys, lineage: str, address: str = RELEASE) -> str:
    """A signature of what the record of the release says, by these keys, for this state."""
    with site.state("staging") as context:
        record = context.store.find_record(Address.parse(RELEASE))
    assert record is not None
    signed = RunSigner(keys, lineage).sign_last_run_if_any(
        replace(record, address=Address.parse(address))
    )
    return str((signed.verification or {})["signature"])


def lineage_and_keys(site: Checkout) -> tuple[str, StateKeys]:
    with site.state("staging") as context:
        return context.store.read_lineage(), context.state_keys


def strip(site: Checkout) -> None:
    """As a state of an earlier version has it, or one that was written by hand."""
    alter(site, signature=None)


def sign_with_another_key(site: Checkout) -> None:
    alter(site, signature=signed_by(site, StateKeys((FOREIGN,)), lineage_and_keys(site)[0]))


def claim_the_key(site: Checkout) -> None:
    """The digest of another key under the id of ours."""
    lineage, keys = lineage_and_keys(site)
    foreign = signed_by(site, StateKeys((FOREIGN,)), lineage).partition(":")[2]
    assert keys.current_key is not None
    alter(site, signature=f"{keys.current_key.key_id}:{foreign}")


def copy_from_another_record(site: Checkout) -> None:
    """The other release has the same bytes, and passed."""
    other = site.record("staging", OTHER)["verification"]
    alter(site, **other)


def copy_from_another_lineage(site: Checkout) -> None:
    """A state of another backend that has the same key."""
    _, keys = lineage_and_keys(site)
    alter(site, signature=signed_by(site, keys, "another-lineage"))


def make_it_pass(site: Checkout) -> None:
    """The run failed and was signed so."""
    lineage, keys = lineage_and_keys(site)
    alter(site, result="failed")
    alter(site, signature=signed_by(site, keys, lineage))
    alter(site, result="passed")


def say_other_bytes(site: Checkout) -> None:
    """What passed were other bytes, and was signed so."""
    lineage, keys = lineage_and_keys(site)
    mine = site.record("staging", RELEASE)["verification"]["digest"]
    alter(site, digest="pkg1:sha256:" + "0" * 64)
    alter(site, signature=signed_by(site, keys, lineage))
    alter(site, digest=mine)


def move_the_job(site: Checkout) -> None:
    alter(site, job="999")


DIFFERS = "the signature of its run there does not match"


@pytest.mark.parametrize(
    ("attack", "why"),
    [
        (strip, "is not signed"),
        (sign_with_another_key, f"is signed with state key {FOREIGN.key_id}"),
        (claim_the_key, DIFFERS),
        (copy_from_another_record, DIFFERS),
        (copy_from_another_lineage, DIFFERS),
        (make_it_pass, DIFFERS),
        (say_other_bytes, DIFFERS),
        (move_the_job, DIFFERS),
    ],
)
def test_a_run_that_the_key_did_not_sign_vouches_for_nothing(
    site: Checkout, attack: Callable[[Checkout], None], why: str
) -> None:
    """The release is refused with the reason and a way out; nothing else is."""
    attack(site)
    said = site.run("plan -t prod")
    assert REFUSED in said
    assert why in said[said.index(REFUSED) :]
    assert f"`synapse-apply verify {RELEASE} -t staging`" in said
    assert f"! {OTHER}" not in said


def test_what_was_signed_vouches(site: Checkout) -> None:
    """Beside the attempts above: the same checkout, untouched."""
    said = site.run("plan -t prod")
    assert "!" not in said
    assert f"# {RELEASE} will be created" in said


def test_a_key_that_comes_with_the_state_vouches_for_nothing(site: Checkout) -> None:
    """The key of the job goes before a key file, which could lie in the checkout as well."""
    said = site.run("plan -t prod", SYNAPSE_APPLY_STATE_KEY=FOREIGN_TEXT)
    assert f"and the key here is {FOREIGN.key_id} from SYNAPSE_APPLY_STATE_KEY" in said
    assert "SYNAPSE_APPLY_STATE_KEY_STAGING" in said
    own = site.file("staging", "key").read_text().strip()
    both = {"SYNAPSE_APPLY_STATE_KEY": FOREIGN_TEXT, "SYNAPSE_APPLY_STATE_KEY_STAGING": own}
    assert "!" not in site.run("plan -t prod", **both)


def test_without_the_key_nothing_vouches(site: Checkout) -> None:
    site.file("staging", "key").unlink()
    assert "and none is here" in site.run("plan -t prod")


@pytest.mark.parametrize("column", ["url", "tenant", "data_set"])
def test_a_state_of_another_backend_vouches_for_nothing(
    site: Checkout, servers: Backends, column: str
) -> None:
    """Its records are signed with the right key, and its lineage is the pinned one."""
    with site.state("staging") as context:
        pin = {"state": {"lineage": context.store.read_lineage()}, "tenant": "acme"}
    site.write_project(servers.urls, staging=pin)
    site.run("state rebind -t staging --auto-approve")
    assert "!" not in site.run("plan -t prod")
    site.sql("staging", f"UPDATE meta SET {column} = 'rival'")
    said = site.run("plan -t prod")
    assert f"{REFUSED} its state cannot be read: it was made for" in said


def test_an_embedded_state_of_another_data_set_vouches_for_nothing(
    servers: Backends, tmp_path: Path
) -> None:
    """The binding of a served backend is its data set: it has no url of its own."""
    site = checkout(tmp_path / "p", servers.urls, "yolo")
    site.write_project(servers.urls, prod={"require_verified": ["embedded"]})
    site.run("apply -t embedded --auto-approve")
    assert "!" not in site.run("plan -t prod")
    site.sql("embedded", "UPDATE meta SET data_set = 'another'")
    said = site.run("plan -t prod")
    assert "target embedded must have verified it first" in said
    assert "it was made for the embedded data set another" in said


def test_a_state_from_before_a_failure_vouches_for_nothing(site: Checkout) -> None:
    """It passed then, and was signed; the newer state says otherwise."""
    before = shutil.copy(site.file("staging"), site.root / "before.db")
    site.run(f"verify {RELEASE} -t staging")
    shutil.copy(before, site.file("staging"))
    said = site.run("plan -t prod")
    assert f"{REFUSED} its state cannot be read: it is older than the last one seen here" in said


def test_a_changed_record_of_its_own_target_is_run_again(site: Checkout) -> None:
    """A forged pass does not keep a target from finding out; nothing else changes."""
    make_it_pass(site)
    said = site.run("plan -t staging")
    assert "The record of a run was changed outside of this tool" in said
    assert "the result of its last run is unknown" in said
    site.run("apply -t staging --auto-approve")
    assert "No changes." in site.run("plan -t staging")
    assert "!" not in site.run("plan -t prod")


def test_a_record_of_an_earlier_version_is_not_run_again(site: Checkout) -> None:
    """Its own target believes its state, of which every id is believed as well."""
    strip(site)
    assert "No changes." in site.run("plan -t staging --detailed-exitcode")


def test_signatures_follow_their_record(site: Checkout) -> None:
    """Under a new key, a new address, in a backup and in another store they vouch as before."""
    site.run("state rekey -t staging")
    assert "!" not in site.run("plan -t prod")
    site.run("state mv plugin/yolo plugin/eye -t staging")
    site.run("state mv plugin/eye plugin/yolo -t staging")
    assert "!" not in site.run("plan -t prod")
    site.run("state backup b.db -t staging")
    site.run("state restore b.db -t staging --auto-approve")
    assert "!" not in site.run("plan -t prod")
    site.run(f"state backup -t staging --to {site.root}/moved.db")
    shutil.move(site.root / "moved.db", site.file("staging"))
    assert "!" not in site.run("plan -t prod")


def test_rekey_signs_nothing_that_was_forged(site: Checkout) -> None:
    """Else it would be the way to have a forged run signed."""
    make_it_pass(site)
    said = site.run("state rekey -t staging")
    assert f"{RELEASE}: the signature of its run does not match" in said
    assert REFUSED in site.run("plan -t prod")


@dataclass(frozen=True)
class Kept:
    """A file that tells of three creates, of which the state knows that they were announced."""

    site: Checkout
    file: Path

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.file.read_text().splitlines()]

    def write(self, lines: list[dict[str, Any]]) -> None:
        self.file.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def known(self) -> set[str]:
        with self.site.state("staging") as context:
            return set(map(str, context.store.read_state().records))

    def recover(self, options: str = "", code: int = 1) -> str:
        return self.site.run(f"state record -t staging {self.file} {options}", code)


def keep(
    site: Checkout, plan_id: str = PLAN, keys: StateKeys | None = None, lineage: str = ""
) -> Path:
    """What a run keeps aside that made three plugins."""
    with site.state("staging") as context:
        whose = ("staging", lineage or context.store.read_lineage(), plan_id)
        aside = RecoveryJournal([site.root / ".synapse-apply"], *whose, keys or context.state_keys)
        path = ""
        for number in range(3):
            address = Address("plugin", f"lost-{number}")
            intent = Intent(f"{plan_id}-{number}", plan_id, address, "create", "v1", f"code=l{number}",
                            sent_at="2026-01-01T00:00:00Z")  # fmt: skip
            done = replace(intent, state=IntentState.DONE, remote_id=f"10{number}")
            entry = context.actor.build_audit_entry(done, "done", moment="2026-01-01T00:00:00Z")
            path = aside.append_call_durably_and_return_path_or_empty(
                done, Record(address, f"10{number}", "v1"), entry
            )
    return Path(path)


@pytest.fixture
def kept(site: Checkout) -> Kept:
    return Kept(site, keep(site))


def change_an_id(lines: list[dict[str, Any]]) -> None:
    lines[1]["record"]["remote_id"] = "1"


def drop_a_line(lines: list[dict[str, Any]]) -> None:
    del lines[1]


def drop_the_first(lines: list[dict[str, Any]]) -> None:
    del lines[0]


def swap(lines: list[dict[str, Any]]) -> None:
    lines[1], lines[2] = lines[2], lines[1]


def repeat(lines: list[dict[str, Any]]) -> None:
    lines.insert(1, lines[1])


def strip_one(lines: list[dict[str, Any]]) -> None:
    del lines[1]["signature"]


def add_one_without(lines: list[dict[str, Any]]) -> None:
    more = json.loads(json.dumps(lines[2]))
    del more["signature"]
    lines.append(more)


def name_another_key(lines: list[dict[str, Any]]) -> None:
    lines[1]["signature"] = f"{FOREIGN.key_id}:{'0' * 64}"


def say_another_plan(lines: list[dict[str, Any]]) -> None:
    for line in lines:
        line["plan"] = "77aa0000-0000-4000-8000-000000000000"


ALTERED = "has a signature that does not match it"
UNSIGNED = "is not signed, but the lines before it are"


@pytest.mark.parametrize(
    ("attack", "number", "why"),
    [
        (change_an_id, 2, ALTERED),
        (drop_a_line, 2, ALTERED),
        (drop_the_first, 1, ALTERED),
        (swap, 2, ALTERED),
        (repeat, 3, ALTERED),
        (strip_one, 2, UNSIGNED),
        (add_one_without, 4, UNSIGNED),
        (name_another_key, 2, "is signed with a different key than the lines before it"),
        (say_another_plan, 1, ALTERED),
    ],
)
def test_a_file_that_was_changed_is_refused_as_a_whole(
    kept: Kept, attack: Callable[[list[dict[str, Any]]], None], number: int, why: str
) -> None:
    """With the number of the line, whatever is said; nothing is recorded and no plan hints at it."""
    before, lines = kept.known(), kept.lines
    attack(lines)
    kept.write(lines)
    for options in ("", "--allow-unsigned"):
        said = kept.recover(options)
        assert "This file was changed after a run wrote it" in said
        assert f": line {number} {why}. " in said
    assert kept.known() == before
    assert kept.file.exists()
    assert "recover" not in kept.site.run("plan -t staging")


def test_lines_of_another_file_are_refused(kept: Kept) -> None:
    """Both are signed with the same key, by runs on the same target."""
    other = Kept(kept.site, keep(kept.site, "77aa0000-0000-4000-8000-000000000000"))
    lines = kept.lines
    lines[1] = other.lines[1]
    kept.write(lines)
    assert "line 2 belongs to a different run than line 1" in kept.recover()


@pytest.mark.parametrize("forged", ["unsigned", "another key", "another lineage"])
def test_what_nobody_signed_is_shown_and_asked_about(site: Checkout, forged: str) -> None:
    """Row by row, off a terminal only with an option; no plan, and no apply, hints at it."""
    keys = StateKeys((FOREIGN,)) if forged == "another key" else StateKeys()
    kept = Kept(site, keep(site, keys=keys, lineage="x" if forged == "another lineage" else ""))
    before = kept.known()
    for typed in ("plan -t staging", "apply -t staging --auto-approve"):
        assert "recover" not in site.run(typed)
    said = kept.recover()
    assert "3. create of plugin/lost-2 (id 102): done" in said
    assert "--allow-unsigned" in said
    assert kept.known() == before
    if forged == "another lineage":
        assert "This file belongs to a different state" in kept.recover("--allow-unsigned")
        assert kept.known() == before
    else:
        kept.recover("--allow-unsigned", code=0)
        assert kept.known() == before | {f"plugin/lost-{number}" for number in range(3)}


def test_what_was_signed_is_recorded_without_a_question(kept: Kept) -> None:
    """Beside the attempts above; the plan names its command."""
    assert f"state record {kept.file} -t staging" in kept.site.run("plan -t staging")
    assert "Recorded: 3." in kept.recover(code=0)


def test_a_line_cannot_record_under_another_address(site: Checkout) -> None:
    """The call is of one address, the record of another: it would replace that one's id."""
    kept = Kept(site, keep(site, keys=StateKeys()))
    lines = kept.lines
    for line in lines:
        line.pop("signature", None)
    lines[0]["record"]["address"] = "plugin/yolo"
    kept.write(lines)
    assert "line 1 is not what a run writes" in kept.recover("--allow-unsigned")
