"""What a change carries beside its fields: both sides, ids, fingerprint, extras, words."""

from __future__ import annotations

import copy
from typing import Any

from counting import calls_of
from unit.planning.world import situation

from synapse_apply.model.plan import Action, Cause, Change
from synapse_apply.model.project import GuardSettings
from synapse_apply.model.values import ABSENT, KnownAfterApply
from synapse_apply.planning.planner import build_plan

KEY = ("config", "key")


def _only(data: dict[str, Any], address: str = "widget/a", **choices: Any) -> Change:
    return build_plan(situation({address: data}, **choices)).changes[0]


def test_a_create_has_no_before_and_hides_its_secrets() -> None:
    """The whole declared object, None where a secret stands."""
    change = _only({"spec": {"name": "a", "config": {"key": {"$secret": "s"}, "x": 1}}})
    assert change.before is None
    assert change.after == {"name": "a", "config": {"key": None, "x": 1}}
    assert change.after_sensitive == (KEY,)
    assert change.remote_id == ""
    assert change.api == "v1"
    assert change.position is not None


def test_an_update_shows_the_whole_object_on_both_sides() -> None:
    """Live-only fields stand on both sides; a dropped one only before."""
    change = _only(
        {
            "id": 7,
            "spec": {"name": "b", "config": {"key": {"$secret": "t"}}},
            "live": {"name": "a", "size": 3, "config": {"key": {"$mac": "s"}, "old": 1}},
            "record": {"applied": {"name": "a", "config": {"key": {"$mac": "s"}, "old": 1}}},
        }
    )
    assert change.before == {"name": "a", "size": 3, "config": {"key": None, "old": 1}}
    assert change.after == {"name": "b", "size": 3, "config": {"key": None}}
    assert change.before_sensitive == change.after_sensitive == (KEY,)
    assert change.remote_id == "7"
    assert {field.path: (field.before, field.after) for field in change.fields} == {
        ("name",): ("a", "b"),
        KEY: (ABSENT, ABSENT),
        ("config", "old"): (1, ABSENT),
    }


def test_a_delete_has_no_after() -> None:
    """What goes is shown as it is."""
    change = _only({"live": {"name": "a"}, "record": {}}, prune=True)
    assert change.action is Action.DELETE
    assert (change.before, change.after) == ({"name": "a"}, None)


def test_what_only_the_server_knows_is_unknown() -> None:
    """A reference to something not created yet."""
    made = build_plan(
        situation(
            {
                "plugin/p": {"spec": {"name": "P"}},
                "release/p@1.0.0": {
                    "spec": {"plugin": {"$ref": "plugin/p"}, "version": "1.0.0"},
                    "package": {"digest": "d", "files": {"a": "1", "b": "2"}},
                },
            }
        )
    )
    release = made.changes[1]
    assert release.after_unknown == (("plugin",),)
    assert isinstance(release.fields[0].after, KnownAfterApply)
    assert release.depends_on == (made.changes[0].address,)
    assert release.extras == {
        "package": {"digest": "d", "files": 2, "size": 10, "source": "./p@1.0.0"}
    }


def test_a_secret_under_a_plain_declaration_stays_hidden() -> None:
    """Where the live side is secret, neither side is shown."""
    change = _only(
        {
            "spec": {"config": {"key": "plain"}},
            "live": {"config": {"key": {"$mac": "s"}}},
            "record": {"applied": {"config": {"key": "old"}}},
        }
    )
    assert change.fields[0].sensitive
    assert change.after == {"config": {"key": None}}
    assert "plain" not in repr(change)


def _moved(live: dict[str, Any], **more: Any) -> str:
    spec = {"size": 1, "tags": ["x", "y"], "config": {"key": {"$secret": "s"}}}
    record = {"applied": {"size": 1, "tags": ["x", "y"], "note": "n"}}
    return _only({"id": 1, "spec": spec, "live": live, "record": record, **more}).fingerprint


def test_a_fingerprint_sees_what_the_comparator_sees() -> None:
    """Numbers as numbers, sets as sets, fields of others not at all."""
    live = {"size": 1, "tags": ["x", "y"], "note": "n", "config": {"key": {"$mac": "s"}}}
    first = _moved(live)
    assert len(first) == 64
    assert _moved({**live, "size": 1.0, "tags": ["y", "x"]}) == first
    assert _moved({**live, "words": ["others"]}) == first
    assert _moved({**live, "size": 2}) != first
    assert _moved({**live, "note": "recorded, no longer declared"}) != first
    assert _moved({**live, "config": {"key": {"$mac": "t"}}}) != first
    assert _moved(live, id=2) != first


def test_a_fingerprint_is_what_earlier_versions_wrote() -> None:
    """It stands in saved plans: another text of the same values would make each of them stale."""
    odd = {"size": "Grüße 😀", "count": 2.0, "rest": [1.5, True, {"a/b~c": None, "z": [""]}]}
    data = {"id": 1, "spec": {"config": odd, "note": "n"}, "live": {"config": odd, "note": "n"}}
    assert _only(data).fingerprint == (
        "4367df8bc40df9e4c9f7e80b12086eb5365068646ef6bcbbba498bb206de4d7a"
    )


def test_a_fingerprint_without_record_does_not_hang_on_the_salt() -> None:
    """The salt of an unrecorded object is new in every run."""
    data = {"id": 1, "spec": {"config": {"key": {"$secret": "s"}}}}
    prints = {
        _only({**data, "live": {"config": {"key": {"$mac": digest}}}}).fingerprint
        for digest in ("s", "t")
    }
    assert len(prints) == 1
    assert _only(data).fingerprint not in prints


def test_planning_leaves_its_input_alone() -> None:
    """Maps and lists of the situation are not changed, whatever is planted beside them."""
    made = situation(
        {
            "widget/a": {
                "spec": {"config": {"a": {"b": 1}, "e": {}}, "tags": ["x"]},
                "live": {"config": {"a": {}, "e": {"f": 1}}, "tags": ["y"]},
                "record": {"applied": {"config": {"c": {}}}},
            }
        }
    )
    before = copy.deepcopy(made.resources)
    assert build_plan(made) == build_plan(made)
    assert made.resources == before


def test_a_secret_removed_or_changed_never_carries_a_value() -> None:
    """Causes of secrets: theirs, drift or both."""
    change = _only(
        {
            "spec": {"config": {"key": {"$secret": "new"}}},
            "live": {"config": {"key": {"$withheld": "masked"}}},
            "record": {"applied": {"config": {"key": {"$mac": "old"}}}},
        }
    )
    assert [field.cause for field in change.fields] == [Cause.SECRET]
    assert change.before_sensitive == change.after_sensitive == (KEY,)


def test_thousands_of_objects_are_planned_in_moments() -> None:
    """Nothing looks through all objects for each of them."""

    def work(count: int) -> int:
        objects: dict[str, Any] = {}
        for n in range(count):
            spec = {"name": f"n{n}", "config": {"x": {"y": n}}}
            needs = {"depends_on": [f"widget/w{n - 1}"]} if n % 10 else {}
            objects[f"widget/w{n}"] = {"spec": spec, "live": spec, "record": {}, **needs}
            objects[f"widget/old{n}"] = {"live": {"name": f"o{n}"}, "record": {}}
        made = situation(objects, prune=True)
        assert made.options.guards == GuardSettings()
        result = build_plan(made)
        assert len(result.changes) == 2 * count
        assert [trip.name for trip in result.guards] == ["mass-missing"]
        return calls_of(lambda: build_plan(made))

    assert work(400) < 5 * work(100)
