"""The Markdown of several targets: a table of all, in full what fits, worst first."""

from __future__ import annotations

from collections.abc import Sequence

from synapse_apply.views.markdown.budget import (
    MIN_BUDGET,
    MarkdownPart,
    SizeBudget,
    count_utf8_bytes,
    render_targets_markdown,
)

CHANGED = {"add": "2", "destroy": "1", "has_changes": "true"}
BUDGET = SizeBudget(65_536)


def build_part(name: str, code: int = 0, *, size: int = 100, changed: bool = False) -> MarkdownPart:
    def render(budget: SizeBudget) -> str:
        text = f"<!-- synapse-apply: target={name} -->\n\n## Plan for {name}\n\n"
        return text + "x" * min(size, budget.limit - len(text))

    return MarkdownPart(name, code, CHANGED if changed else {"has_changes": "false"}, render)


def render(parts: Sequence[MarkdownPart], command: str = "plan", **more: Sequence[str]) -> str:
    not_begun = more.get("not_begun", ())
    return render_targets_markdown(parts, not_begun, command, "prod-* -->", budget=BUDGET)


def test_the_worst_comes_first_and_nothing_to_do_is_a_row_alone() -> None:
    text = render([build_part("a"), build_part("b", changed=True), build_part("c", 1)])
    assert text.startswith("<!-- synapse-apply: targets=prod-%2A%20%2D%2D%3E -->\n\n## Plan of 3")
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert rows == ["| `c` | 1 | error |", "| `a` | 0 | nothing |",
                    "| `b` | 0 | 2 to add, 1 to destroy |"]  # fmt: skip
    assert text.index("## Plan for c") < text.index("## Plan for b")
    assert "## Plan for a" not in text
    assert text.count("<!--") == 1


def test_an_apply_has_a_comment_of_its_own_and_tells_who_had_no_turn() -> None:
    text = render([build_part("b", 3, changed=True)], "apply", not_begun=["c", "d"])
    assert text.partition("\n")[0].endswith(" apply -->")
    assert "| `b` | 3 | 2 added, 1 destroyed |" in text
    assert "Not started: `c`, `d`." in text


def test_what_does_not_fit_is_counted() -> None:
    """Of three hundred large plans some are shown whole, and the comment keeps its limit."""
    parts = [build_part(f"t{n}", size=20_000, changed=True) for n in range(300)]
    text = render(parts)
    assert len(text) <= BUDGET.limit
    assert "| *200 more* | | |" in text
    shown = text.count("## Plan for t")
    assert shown >= (BUDGET.limit - 20_000) // (MIN_BUDGET + 2)
    assert text.endswith(f"*{300 - shown} more targets are not shown here.*\n")


def test_long_names_of_many_targets_keep_the_limit_too() -> None:
    """What is left of a step summary may be small, and a larger text is dropped as a whole."""
    names = [f"{number:03}-{'é' * 90}" for number in range(100)]
    budget = SizeBudget(MIN_BUDGET, count_utf8_bytes)
    parts = [build_part(name, 1) for name in names]
    text = render_targets_markdown(parts, names, "apply", "prod-*", budget=budget)
    assert count_utf8_bytes(text) <= MIN_BUDGET
    rows = text.count("| `0")
    assert f"| *{100 - rows} more* | | |" in text
    assert " more." in text
