"""Signatures under a state key: what they show, and that nothing can be taken for something else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from synapse_apply.model.address import Address
from synapse_apply.model.job import LastRun, RunStatus
from synapse_apply.model.state import Record
from synapse_apply.model.values import Sensitive
from synapse_apply.secrets import macs
from synapse_apply.secrets.keys import StateKey, StateKeys, key_variable_of
from synapse_apply.secrets.signatures import (
    RunSigner,
    SignatureStatus,
    StateKeySigner,
    sign_document_or_empty_without_key,
    verify_signature,
)

KEY, OTHER = StateKey(b"k" * 32, "here"), StateKey(b"o" * 32, "there")
DOCUMENT = {"a": "b", "n": 1.0}
RUN = LastRun(RunStatus.PASSED, "12", "params", "pkg1:sha256:00", "2026-01-01T00:00:00Z")
RECORD = Record(Address("release", "yolo@1.0.0"), "7", "v1", verification=RUN.to_json())
SIGNER = RunSigner(StateKeys((KEY,)), "lineage")


@pytest.mark.parametrize(
    ("keys", "shown"),
    [((KEY,), SignatureStatus.GENUINE), ((OTHER, KEY), SignatureStatus.EARLIER), ((OTHER,), SignatureStatus.STRANGE),
     ((), SignatureStatus.STRANGE)],
)  # fmt: skip
def test_who_signed_it(keys: tuple[StateKey, ...], shown: SignatureStatus) -> None:
    signature = sign_document_or_empty_without_key(StateKeys((KEY,)), "purpose", DOCUMENT)
    assert verify_signature(StateKeys(keys), "purpose", DOCUMENT, signature) is shown


@pytest.mark.parametrize(
    ("purpose", "document", "signature"),
    [("another", DOCUMENT, None), ("purpose", {**DOCUMENT, "a": "c"}, None),
     ("purpose", {"a": "b"}, None), ("purpose", DOCUMENT, f"{KEY.key_id}:"),
     ("purpose", DOCUMENT, f"{KEY.key_id}:é\udc80"), ("purpose", DOCUMENT, f"{KEY.key_id}")],
)  # fmt: skip
def test_what_is_not_of_this_document_is_forged(
    purpose: str, document: dict[str, object], signature: str | None
) -> None:
    signed = sign_document_or_empty_without_key(StateKeys((KEY,)), "purpose", DOCUMENT)
    found = verify_signature(StateKeys((KEY,)), purpose, document, signature or signed)
    assert found is SignatureStatus.FORGED


def test_no_digest_of_a_secret_is_a_signature() -> None:
    """A value that somebody chose must not be digested into what a run would have."""
    mac = macs.compute_mac(KEY, "", (), Sensitive(DOCUMENT))
    shown = verify_signature(StateKeys((KEY,)), "purpose", DOCUMENT, f"{mac.key_id}:{mac.digest}")
    assert shown is SignatureStatus.FORGED


def test_without_a_key_nothing_is_signed() -> None:
    assert sign_document_or_empty_without_key(StateKeys(), "purpose", DOCUMENT) == ""
    assert RunSigner(StateKeys(), "lineage").sign_last_run_if_any(RECORD) == RECORD
    assert SIGNER.verify_last_run(RECORD) is SignatureStatus.UNSIGNED


@pytest.mark.parametrize("name", ["result", "job", "parameters", "digest", "at"])
def test_a_signature_is_over_all_that_decides(name: str) -> None:
    signed = SIGNER.sign_last_run_if_any(RECORD)
    assert SIGNER.verify_last_run(signed) is SignatureStatus.GENUINE
    changed = replace(signed, verification={**(signed.verification or {}), name: "else"})
    assert SIGNER.verify_last_run(changed) is SignatureStatus.FORGED


def test_a_signature_is_of_one_address_and_one_lineage() -> None:
    signed = SIGNER.sign_last_run_if_any(RECORD)
    moved = replace(signed, address=Address("release", "sam@1.0.0"))
    assert SIGNER.verify_last_run(moved) is SignatureStatus.FORGED
    assert SIGNER.verify_last_run(SIGNER.sign_moved_run(signed, moved)) is SignatureStatus.GENUINE
    assert replace(SIGNER, lineage="another").verify_last_run(signed) is SignatureStatus.FORGED


def test_a_move_signs_nothing_that_was_not_signed() -> None:
    moved = replace(RECORD, address=Address("release", "sam@1.0.0"))
    assert SIGNER.sign_moved_run(RECORD, moved) == moved


def test_states_of_earlier_versions_read_and_write_as_before() -> None:
    """No field appears in a record that nobody signs."""
    assert LastRun.from_json_or_none(RECORD.verification) == RUN
    assert "signature" not in RUN.to_json()


def test_the_result_of_a_forged_run_is_unknown() -> None:
    signed = SIGNER.sign_last_run_if_any(RECORD)
    forged = replace(signed, verification={**(signed.verification or {}), "job": "13"})
    fine = replace(signed, address=RECORD.address)
    records, doubted = SIGNER.mark_forged_runs_unknown({forged.address: forged})
    last = LastRun.from_json_or_none(records[forged.address].verification)
    assert doubted == (forged.address,)
    assert last is not None
    assert (last.result, last.job, last.signature) == (RunStatus.UNKNOWN, "13", "")
    assert SIGNER.mark_forged_runs_unknown({fine.address: fine}) == ({fine.address: fine}, ())


def test_each_target_has_a_variable_of_its_own() -> None:
    assert key_variable_of("prod-eu.1") == "SYNAPSE_APPLY_STATE_KEY_PROD_EU_1"


def test_a_store_is_signed_with_the_key_of_the_moment() -> None:
    """Genuine, forged, of another purpose, of a key that is not at hand, not signed at all."""
    current = [StateKeys((KEY,))]
    signer = StateKeySigner("links", lambda: current[0])
    signature = signer.sign_or_empty_without_key("a link")
    assert signer.is_genuine_or_none_if_uncheckable("a link", signature) is True
    assert signer.is_genuine_or_none_if_uncheckable("another link", signature) is False
    assert (
        StateKeySigner("plans", lambda: current[0]).is_genuine_or_none_if_uncheckable(
            "a link", signature
        )
        is False
    )
    assert signer.is_genuine_or_none_if_uncheckable("a link", "") is False
    # After a rekey the former key counts for nothing but another rekey, though it is at hand.
    current[0] = StateKeys((OTHER, KEY))
    assert signer.is_genuine_or_none_if_uncheckable("a link", signature) is False
    signer.accepts_former_keys = True
    assert signer.is_genuine_or_none_if_uncheckable("a link", signature) is True
    signer.accepts_former_keys = False
    assert signer.sign_or_empty_without_key("a link").startswith(f"{OTHER.key_id}:")
    current[0] = StateKeys((OTHER,))
    assert signer.is_genuine_or_none_if_uncheckable("a link", signature) is None
    # Without any key nothing is signed, and nothing is believed: a signature may be gone.
    current[0] = StateKeys()
    assert (
        signer.sign_or_empty_without_key("a link"),
        signer.is_genuine_or_none_if_uncheckable("a link", ""),
    ) == (
        "",
        None,
    )
    assert signer.is_genuine_or_none_if_uncheckable("a link", signature) is None
