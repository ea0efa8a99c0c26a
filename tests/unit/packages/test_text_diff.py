"""A difference is what `diff -u` has, bounded, and never shows what looks like a secret."""

import time

import pytest

from synapse_apply.packages.text_diff import HIDDEN_LINE, MAX_DIFF_SIZE, diff_texts

KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIEabcdefghijklmnop\n-----END RSA PRIVATE KEY-----\n"


def test_lines_with_their_surroundings():
    """Two lines of context, with the place of each part."""
    old = "".join(f"line {n}\n" for n in range(1, 30))
    new = old.replace("line 5\n", "line five\n").replace("line 25\n", "")
    assert diff_texts("main.py", old.encode(), new.encode(), 100).lines == (
        "@@ -3,5 +3,5 @@", " line 3", " line 4", "-line 5", "+line five", " line 6", " line 7",
        "@@ -23,5 +23,4 @@", " line 23", " line 24", "-line 25", " line 26", " line 27",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('password = "canary-71"', 'password = "canary-72"'),
        ("db_password: canary-71", "db_password: canary-72"),
        ('"apiKey": "canary-71",', '"apiKey": "canary-72",'),
        ("AWS_SECRET_ACCESS_KEY=canary-71", "AWS_SECRET_ACCESS_KEY=canary-72"),
        ("secret: |\n  canary-71\n  more canary\nnext: 1", "secret: |\n  canary-72\nnext: 2"),
        ("token = 'ghp_canary012345678901234567890123456789ab'", "token = ''"),
        ("client_secret = (\n    'canary-71'\n)", "client_secret = (\n    'canary-72'\n)"),
        (KEY + "canary-71", KEY + "canary-72"),
    ],
)
def test_what_looks_like_a_secret_is_on_neither_side(old, new):
    """Also as the context of another change, and on lines that belong to the one with the name."""
    before, after = f"a = 1\n{old}\nb = 1\n", f"a = 2\n{new}\nb = 2\n"
    found = diff_texts("main.py", before.encode(), after.encode(), 100)
    assert "canary" not in str(found)
    assert "MIIE" not in str(found)
    assert HIDDEN_LINE in str(found) or "private key" in found.note


@pytest.mark.parametrize("path", [".env", "conf/.env.prod", "tls/server.key", "id_rsa", "a.pem"])
def test_files_for_secrets_are_not_shown(path):
    """By their name, whatever stands in them."""
    found = diff_texts(path, b"canary one\n", b"canary two\n", 100)
    assert (found.lines, found.note) == ((), "the content of such a file is not shown")


@pytest.mark.parametrize(
    ("old", "new", "note"),
    [
        (b"\xff\xfe", b"a", "not a text"),
        (b"a\0b", b"a", "not a text"),
        (b"a\n", b"a\r\n", "only line ends differ"),
        (b"a" * (MAX_DIFF_SIZE + 1), b"a", "too large to compare line by line"),
        (b"a\n" * 801, b"a", "too long to compare line by line"),
    ],
)
def test_what_cannot_be_shown_says_why(old, new, note):
    """There is a reason in place of lines."""
    found = diff_texts("main.py", old, new, 100)
    assert (found.lines, found.note) == ((), note)


def test_a_long_difference_is_cut():
    """In lines and in width, and the rest is counted."""
    old = "".join(f"{n}\n" for n in range(50))
    new = "".join(f"{n}{'x' * 500}\n" for n in range(50))
    found = diff_texts("main.py", old.encode(), new.encode(), 60)
    assert (len(found.lines), found.note) == (60, "41 more lines")
    assert max(map(len, found.lines)) == 200


def test_texts_that_are_made_to_be_slow_are_compared_soon():
    """Repeated lines are where difflib takes its time."""
    began = time.process_time()
    old = "".join(f"{n % 7}\n" for n in range(800))
    new = "".join(f"{n % 5}\n" for n in range(800))
    diff_texts("main.py", old.encode(), new.encode(), 100)
    assert time.process_time() - began < 60
