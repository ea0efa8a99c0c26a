"""Who made a commit and what it says, of whatever a commit may hold."""

import pytest

from synapse_apply.controller.source.mirror import parse_commit_head

HEADER = (
    b"tree 1\nparent 2\nauthor Ann <ann@example.com> 1700000000 +0900\ncommitter B <b> 1 +0000\n"
)


@pytest.mark.parametrize(
    ("content", "author", "subject"),
    [
        (HEADER + b"\nSay so\n\nmore", "Ann <ann@example.com>", "Say so"),
        (HEADER + b"\n\n\n  Say so  \n", "Ann <ann@example.com>", "Say so"),
        (HEADER + b"\n", "Ann <ann@example.com>", ""),
        (b"author \xff\n\n\xff\x00", "\ufffd", "\ufffd\\u0000"),
        (b"", "", ""),
        (b"author x <y>\nauthor z <z> 1 +0000\n\nq", "x <y>", "q"),
        (b"author " + b"a" * 1000 + b"\n\n" + b"\x07" * 1000, "a" * 197 + "...", "\\u0007" * 49),
    ],
)
def test_texts(content, author, subject):
    head = parse_commit_head("1", content)
    assert head.author == author
    assert head.subject.removesuffix("...").startswith(subject)
    assert len(head.subject) <= 300
