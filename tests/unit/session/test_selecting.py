"""`--only` and `--exclude`: by address, kind, label, or series; a name that fits nothing is said."""

from __future__ import annotations

from dataclasses import replace

import pytest
from unit.applying.bench import Bench, plugin, release, widget

from synapse_apply.model.errors import InputError
from synapse_apply.session.select import selection


def declared():
    """Two plugins, one of team vision, three releases of them, a widget."""
    vision = replace(plugin("yolo"), labels={"team": "vision", "example.org/part-of": "a=b"})
    other = release("3.0.0")
    other = replace(other, address=replace(other.address, name="sam@3.0.0"))
    return [vision, plugin("sam"), release("1.0.0"), release("2.0.0"), other, widget("w")]


@pytest.fixture
def context(tmp_path):
    bench = Bench(tmp_path)
    bench.apply(widget("old"))
    return bench.context(*declared())


ALL = [
    "plugin/sam",
    "plugin/yolo",
    "release/sam@3.0.0",
    "release/yolo@1.0.0",
    "release/yolo@2.0.0",
    "widget/old",
    "widget/w",
]


@pytest.mark.parametrize(
    ("only", "exclude", "selected"),
    [
        (["plugin/yolo"], [], ["plugin/yolo"]),
        (["plugin"], [], ["plugin/sam", "plugin/yolo"]),
        (["Widget"], [], ["widget/old", "widget/w"]),
        (["team=vision"], [], ["plugin/yolo"]),
        (["example.org/part-of=a=b"], [], ["plugin/yolo"]),
        ([], ["example.org/part-of=a=b", "release", "widget"], ["plugin/sam"]),
        (["release/yolo"], [], ["release/yolo@1.0.0", "release/yolo@2.0.0"]),
        (["release/yolo@1.0.0", "widget/old"], [], ["release/yolo@1.0.0", "widget/old"]),
        (["release"], ["release/yolo"], ["release/sam@3.0.0"]),
        ([], ["release", "widget", "team=vision"], ["plugin/sam"]),
        (["plugin"], ["plugin"], []),
        ([], ["widget/old"], [one for one in ALL if one != "widget/old"]),
    ],
)
def test_what_is_selected(context, only, exclude, selected):
    """What is excluded is taken out of what is asked for, or of all, recorded ones included."""
    found = selection(context, only, exclude)
    assert sorted(map(str, found or ())) == selected


def test_nothing_is_limited_by_default(context):
    """None, not every address: what is found later belongs to the plan too."""
    assert selection(context, [], []) is None


def test_every_name_that_fits_nothing_is_said(context):
    """A mistyped name must not plan nothing, or leave nothing out."""
    with pytest.raises(InputError) as caught:
        selection(
            context, ["plugin/yola", "plugin"], ["team=visoin", "storages", "example.org/x=a"]
        )
    told = [(one.detail.split("`")[1], one.hint) for one in caught.value.diagnostics]
    assert [name for name, _ in told] == [
        "plugin/yola",
        "team=visoin",
        "storages",
        "example.org/x=a",
    ]
    assert told[0][1] == "did you mean `plugin/yolo`?"
    assert told[1][1] == "did you mean `team=vision`?"
    assert told[2][1] == "did you mean `storage`?"
    assert told[3][1] == "did you mean `example.org/part-of=a=b`?"


@pytest.mark.parametrize("name", ["release", "Release"])
def test_a_kind_of_which_there_is_nothing_is_still_a_kind(tmp_path, name):
    """It is not called mistyped, nor offered as what was meant."""
    for declared_there, rest in (
        ([widget("w"), plugin()], ", or choose from: plugin, widget"),
        ([], ""),
    ):
        with pytest.raises(InputError) as caught:
            selection(Bench(tmp_path).context(*declared_there), [name], [])
        (found,) = caught.value.diagnostics
        assert found.detail == f"nothing of kind `{name}` is declared or recorded for this target"
        assert found.hint == f"declare it in a manifest first{rest}"


def test_only_what_is_selected_is_applied(tmp_path):
    """The rest stays as it is, and the plan says that it is a part."""
    bench = Bench(tmp_path)
    both = (widget("a"), widget("b"))
    selected = selection(bench.context(*both), ["widget/a"], [])
    report = bench.apply(*both, selected=selected)
    assert [str(one.address) for one in report.outcomes] == ["widget/a"]
    assert [one.summary for one in report.plan.diagnostics] == ["Only a part was planned"]
    assert bench.api.writes() == ["create_widget"]
