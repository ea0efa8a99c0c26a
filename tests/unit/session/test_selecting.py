"""`--only` and `--exclude`: by address, kind, label, or series; a name that fits nothing is said."""

from __future__ import annotations

from dataclasses import replace

import pytest
from failing import fails
from unit.applying.bench import Bench, plugin, release, widget


def declared():
    """Two plugins, one of team vision, three releases of them, a widget."""
    vision = replace(plugin("yolo"), labels={"team": "vision", "example.org/part-of": "a=b"})
    other = release("3.0.0")
    other = replace(other, address=other.address._replace(name="sam@3.0.0"))
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
        (["widget/*"], [], ["widget/old", "widget/w"]),
        (["release/*@1.*", "release/sam@*"], [], ["release/sam@3.0.0", "release/yolo@1.0.0"]),
        ([], ["release/*", "*old"], ["plugin/sam", "plugin/yolo", "widget/w"]),
        (["*"], ["widget"], ALL[:-2]),
        (["w"], [], ["widget/w"]),
        (["yolo@2.0.0"], [], ["release/yolo@2.0.0"]),
        (["old"], [], ["widget/old"]),
    ],
)
def test_what_is_selected(context, only, exclude, selected):
    """What is excluded is taken out of what is asked for, or of all, recorded ones included."""
    found = context.names.select(only, exclude)
    assert sorted(map(str, found or ())) == selected


def test_every_name_that_fits_nothing_is_said(context):
    """A mistyped name must not plan nothing, or leave nothing out."""
    with fails("InputError") as caught:
        context.names.select(
            ["plugin/yola", "plugin"], ["team=visoin", "storages", "example.org/x=a"]
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


def test_a_bare_name_that_two_kinds_have_is_asked_back(context):
    """`yolo` is a plugin, and the series of its releases: nothing is guessed."""
    with fails("InputError") as caught:
        context.names.select(["yolo"], ["sam"])
    assert [(one.summary, one.detail) for one in caught.value.diagnostics] == [
        ("Which one?", "`yolo` may be plugin/yolo, release/yolo@1.0.0, release/yolo@2.0.0"),
        ("Which one?", "`sam` may be plugin/sam, release/sam@3.0.0"),
    ]


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("plugin/yolo", "plugin/yolo"),
        ("release/sam", "release/sam@3.0.0"),
        ("yolo@1.0.0", "release/yolo@1.0.0"),
        ("old", "widget/old"),
        ("widget/o*", "widget/old"),
        ("team=vision", "plugin/yolo"),
        ("storage/not-there", "storage/not-there"),
    ],
)
def test_one_is_chosen(context, name, address):
    """A whole address is taken as it stands: the command says that it is not there."""
    assert str(context.names.choose(name)) == address


@pytest.mark.parametrize("name", ["yolo", "release/yolo", "plugin", "*", "nothing", "pl*x/*", "="])
def test_one_is_not_chosen_where_none_or_several_fit(context, name):
    """An error, and no guess."""
    with fails("InputError"):
        context.names.choose(name)


def test_each_name_is_one_and_a_pattern_is_all(context):
    """`state rm release/yolo` must not forget several; `release/yolo@*` says so."""
    with fails("InputError") as caught:
        context.names.choose_all(["widget/w", "release/yolo"])
    assert caught.value.diagnostics[0].summary == "Which one?"
    found = context.names.choose_all(
        ["release/yolo@*", "w", "widget/*"], lambda at: at.name != "old"
    )
    assert [*map(str, found)] == ["release/yolo@1.0.0", "release/yolo@2.0.0", "widget/w"]


@pytest.mark.parametrize("name", ["release", "Release"])
def test_a_kind_of_which_there_is_nothing_is_still_a_kind(tmp_path, name):
    """It is not called mistyped, nor offered as what was meant."""
    for declared_there, rest in (
        ([widget("w"), plugin()], ", or choose from: plugin, widget"),
        ([], ""),
    ):
        with fails("InputError") as caught:
            Bench(tmp_path).context(*declared_there).names.select([name], [])
        (found,) = caught.value.diagnostics
        assert found.detail == f"nothing of kind `{name}` is declared or recorded for this target"
        assert found.hint == f"declare it in a manifest first{rest}"
