"""Mutations of YAML texts: by tokens and lines, and by the values that they mean."""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random
from typing import Any

import yaml
from fuzz.json_mutations import broken_bytes, mutated, text_of

_TOKEN = re.compile(r"[A-Za-z0-9_.${}/-]+|[:\-?,\[\]{}&*!|>'\"%@`#]|[ ]+|\n")
_ODD = (
    *(
        "null",
        "~",
        "yes",
        "0o17",
        "0x1F",
        "1_000",
        "1e999",
        ".nan",
        ".inf",
        "-.INF",
        "1.",
        "+1",
        "-0",
    ),
    *(
        "2024-01-01",
        "12:30:45",
        "<<",
        "<<: *a",
        "&a",
        "*a",
        "*b",
        "!!python/object:os.system",
        "!!binary",
    ),
    *(
        "!",
        "!<tag:x>",
        "? ",
        "- - - ",
        "[",
        "]",
        "{",
        "}",
        "|",
        ">-",
        "|9",
        "'",
        '"',
        '"\\x"',
        '"\\ud800"',
    ),
    *(
        "%YAML 1.2\n",
        "---\n",
        "...\n",
        "--- |\n",
        "\t",
        "\x00",
        "\x1b",
        "\ufeff",
        "\u2028",
        "\u202e",
        "\x85",
    ),
    *(
        "#",
        " #",
        ": ",
        ":",
        "- ",
        ",",
        "@",
        "`",
        "${var.bucket}",
        "${var.",
        "${",
        "$${x}",
        "${var.a.b}",
    ),
    *("9" * 6000, "x" * 20_000, "a: " * 50, "[" * 2000, "{a: " * 500, "- " * 1000, "? " * 500),
    *(
        "{valueFrom: {env: A}}",
        "{valueFrom: {file: ../../etc/passwd}}",
        "null: null",
        "[]: 1",
        "1: 2",
    ),
    *(
        "*" * 40 + "b",
        "**/" * 20,
        "é" * 100,
        "😀",
        "name: name: name",
        "kind: Plugin",
        "apiVersion: x",
    ),
)
_BOMB = "a: &a [1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [" + ",".join([f"*{chr(97 + n)}"] * 9) + "]\n" for n in range(9)
)


def mutated_text(text: str, others: Sequence[str], random: Random) -> bytes:
    """A text with some of its tokens, lines or values other than they were, or its bytes broken."""
    for _ in range(random.choice((1, 1, 2, 3))):
        kind = random.random()
        if kind < 0.4:
            text = _by_value(text, others, random)
        elif kind < 0.75:
            text = _by_token(text, random)
        else:
            text = _by_line(text, others, random)
    data = text.encode("utf-8", "surrogatepass")
    return broken_bytes(data, random) if random.random() < 0.1 else data


def _by_token(text: str, random: Random) -> str:
    tokens = _TOKEN.findall(text) or [""]
    for _ in range(random.choice((1, 1, 2, 4))):
        at = random.randrange(len(tokens))
        kind = random.randrange(4)
        if kind == 0:
            tokens[at] = random.choice(_ODD)
        elif kind == 1:
            tokens.insert(at, random.choice(_ODD))
        elif kind == 2:
            tokens[at] = random.choice(tokens)
        else:
            tokens[at] = ""
    return "".join(tokens)


def _by_line(text: str, others: Sequence[str], random: Random) -> str:
    lines = text.split("\n")
    at = random.randrange(len(lines))
    kind = random.randrange(7)
    if kind == 0:
        lines.insert(at, random.choice(lines))
    elif kind == 1:
        del lines[at]
    elif kind == 2:
        lines[at] = " " * random.randrange(1, 9) + lines[at]
    elif kind == 3:
        lines[at] = lines[at].lstrip()
    elif kind == 4:
        lines[at:at] = random.choice(others).split("\n")
    elif kind == 5:
        lines[at:] = ["---", *random.choice(others).split("\n"), *lines[at:]]
    else:
        lines.insert(at, _BOMB)
    return "\n".join(lines)


def _by_value(text: str, others: Sequence[str], random: Random) -> str:
    """Each document as JSON, which YAML reads too, so that every place of a schema is reached."""
    documents = _values(text)
    if not documents:
        return _by_token(text, random)
    at = random.randrange(len(documents))
    documents[at] = mutated(documents[at], random, _values(random.choice(others)))
    return "\n---\n".join(map(text_of, documents))


def _values(text: str) -> list[Any]:
    # Parsing the bombs and towers that other mutations made would take longer than the tool's run.
    if len(text) > 20_000 or "*" in text:
        return []
    try:
        found = [value for value in yaml.safe_load_all(text) if value is not None]
        text_of(found)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError, AttributeError):
        return []
    return found
