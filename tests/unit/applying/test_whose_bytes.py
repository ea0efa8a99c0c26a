"""A release that somebody published meanwhile: ours only where its own digest says so."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sessions import with_parts
from unit.applying.bench import Bench, outcome, plugin, release, told, widget
from unit.applying.scripted import lost, refused

from synapse_apply.kinds.release import DIGEST_KEY
from synapse_apply.model.report import Result
from synapse_apply.model.resource import Desired

OURS, THEIRS = f"pkg1:sha256:{'aa' * 32}", f"pkg1:sha256:{'bb' * 32}"
AT = "release/yolo@1.0.0"


def configured() -> Desired:
    """A release with free config, in which the digest of its package travels."""
    one = release("1.0.0", OURS)
    return replace(one, spec={**one.spec, "config": {"a": 1}})


def published(bench: Bench, digest: str) -> None:
    """What somebody else publishes while our call is under way."""
    (owner,) = bench.api.objects["plugin"].values()
    config = {"a": 1, DIGEST_KEY: digest}
    bench.api._store("release", {"plugin": owner["id"], "version": "1.0.0", "config": config})


def publish_first(bench: Bench, digest: str, answer: Exception) -> None:
    """The create of the release meets one that was made a moment before."""
    create = bench.api.create_plugin_release

    def late(data, **_key):
        published(bench, digest)
        bench.api.fail("create_release", answer)
        return create(data)

    bench.api.create_plugin_release = late  # type: ignore[method-assign]


def test_a_conflict_with_our_own_bytes_is_done(bench):
    """Two pipelines published one package: nothing is left to do."""
    publish_first(bench, OURS, refused(409))
    report = bench.apply(plugin(), configured())
    assert outcome(report, AT).result is Result.DONE
    assert "with the same content" in told(report)
    assert bench.record(AT).digest == OURS
    assert bench.store.read_state().open_intents == ()
    assert not bench.plan(plugin(), configured()).plan.has_changes


@pytest.mark.parametrize("adopts", [False, True])
def test_a_conflict_with_other_bytes_fails(bench, adopts):
    """They are not what was reviewed: nothing is recorded, whatever may be adopted."""
    publish_first(bench, THEIRS, refused(409))
    report = bench.apply(plugin(), configured(), adopts=adopts)
    assert outcome(report, AT).result is Result.FAILED
    assert "The object already exists" in told(report)
    assert AT not in map(str, bench.store.read_state().records)


def test_a_lost_answer_does_not_claim_the_bytes_of_others(bench):
    """The object that is there tells another digest than the one that was sent."""
    publish_first(bench, THEIRS, lost())
    report = bench.apply(plugin(), configured())
    assert outcome(report, AT).result is Result.UNKNOWN
    planned = bench.plan(plugin(), configured())
    (change,) = [one for one in planned.plan.changes if str(one.address) == AT]
    assert "unreleased changes" in " ".join(change.notes)
    bench.apply(plugin(), configured())
    assert (bench.record(AT).digest, bench.record(AT).files) == (THEIRS, {})


@pytest.mark.parametrize("hides", [frozenset(), frozenset({"note"})])
def test_the_audit_names_the_request_that_wrote(bench, hides):
    """A read-back is another request; its id would lead support to a GET."""
    bench.api.hides = hides
    context = bench.context(widget("w", note="a"))
    calls = bench.api.calls

    def request_id() -> str:
        return "get" if calls[-1].startswith("get") else "write"

    from synapse_apply import apply

    planned = bench.plan(widget("w", note="a"))
    with bench.store.lock("apply"):
        backend = replace(context.backend, request_id=request_id)
        apply(with_parts(context, backend=backend), planned, bench.progress)
    assert bench.store.list_audit_entries_newest_first()[0].request_id == "write"
