"""Mutations of JSON values: one place of a document becomes odd, or goes, or comes twice."""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any

_RAW = "@@raw:{}@@"
# As text of the document, since no value of Python is written like this.
_TEXTS = (
    *("NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1E+2", "-0", "0.1e-400"),
    *("9" * 5000, "1" + "0" * 400, "9223372036854775808", "-9223372036854775809"),
    *("[" * 5000 + "]" * 5000, '{"a":' * 3000 + "1" + "}" * 3000),
    *('"\\ud800"', '"\\udfff\\ud800"', '"\\u0000"', '{"a":1,"a":2}'),
)
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**31, 2**53 + 1, 1.5, -0.0, "", " ", "0", "null", "true"),
    *([], {}, [[]], {"": None}, [None], "x" * 20_000, "\u202eabc\u2066", "a\x1b[31mb", "\ufeff"),
    *(
        "../../../etc/passwd",
        "/proc/self/environ",
        "C:\\aux",
        "-1",
        "1.2.3",
        "9" * 300,
        "\n::error::",
    ),
    *("0000-00-00T00:00:00Z", "9999-12-31T23:59:60Z", "2026-02-30", "P1D", "1e999"),
    *({"$mac": 1}, {"$int": "0x"}, {"$int": "zz"}, {"$float": []}, {"$map": []}, {"$absent": 1}),
    *({"$withheld": None}, {"$reference": "x"}, {"$known_after_apply": "plugin/x"}, {"$x": 1}),
    *({"valueFrom": {"env": "A"}}, {"valueFrom": {"file": "/dev/stdin"}}, {"id": "1"}, {"id": {}}),
    *("${var.bucket}", "${var.", "$${", "plugin/x", "release/a@b", "storage/", "*", "@", "/"),
    *("pkg1:sha256:" + "0" * 64, "sha256:zz", "00000000-0000-0000-0000-000000000000"),
)


def odd_value(random: Random) -> Any:
    """A value that hardly anybody reckons with."""
    if random.random() < 0.3:
        return _RAW.format(random.randrange(len(_TEXTS)))
    return copy.deepcopy(random.choice(_VALUES))


def text_of(value: Any) -> str:
    """A document as text, with the texts in it that no value stands for."""
    text = json.dumps(value)
    for number, raw in enumerate(_TEXTS):
        text = text.replace(json.dumps(_RAW.format(number)), raw)
    return text


def mutated(value: Any, random: Random, others: list[Any] | None = None) -> Any:
    """A copy of a document in which one to three places are other than they were."""
    box = [copy.deepcopy(value)]
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        _change(box, random, others or [])
    return box[0]


def _places(value: Any) -> list[tuple[Any, Any]]:
    found, waiting = [], [value]
    while waiting and len(found) < 5000:
        one = waiting.pop()
        if isinstance(one, (dict, list)):
            keys = list(one) if isinstance(one, dict) else range(len(one))
            found += [(one, key) for key in keys]
            waiting += [one[key] for key in keys]
    return found


def _change(box: list[Any], random: Random, others: list[Any]) -> None:
    parent, key = random.choice(_places(box))
    value = parent[key]
    kind = random.randrange(9)
    if kind <= 2:
        parent[key] = odd_value(random)
    elif kind == 3 and parent is not box:
        del parent[key]
    elif kind == 4 and isinstance(parent, dict):
        parent[str(odd_value(random))[:200]] = parent.pop(key)
    elif kind == 5:
        parent[key] = random.choice(
            ([value], {"a": value}, [value] * 3, str(value), {str(key): value})
        )
    elif kind == 6 and isinstance(value, list) and value:
        parent[key] = value * random.choice((2, 300))
    elif kind == 7 and others:
        parent[key] = copy.deepcopy(random.choice(_places([random.choice(others)]))[0])
    elif isinstance(value, str):
        parent[key] = _other_text(value, random)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        parent[key] = random.choice((-value, value + 1, _as_float(value), str(value), 10**18))
    elif isinstance(parent, dict):
        parent[random.choice(("id", "name", "code", "version", "$mac", "x"))] = odd_value(random)


def _as_float(number: float) -> float:
    """The nearest float; the number itself where it is larger than any."""
    try:
        return float(number)
    except OverflowError:
        return number


def _other_text(text: str, random: Random) -> str:
    at = random.randrange(len(text) + 1)
    piece = random.choice(
        ("\u200b", "\u202e", "\ud800", "\x00", "\n", "/", "..", "${", "é", "😀", "@", " ")
    )
    return random.choice(
        (text[:at] + piece + text[at:], text[:at], text.upper(), text + text, text[::-1])
    )


def broken_bytes(data: bytes, random: Random) -> bytes:
    """A few bytes flipped, dropped, doubled or cut off."""
    made = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 8))):
        if not made:
            break
        at = random.randrange(len(made))
        kind = random.randrange(5)
        if kind == 0:
            made[at] ^= 1 << random.randrange(8)
        elif kind == 1:
            del made[at : at + random.choice((1, 1, 4, 64))]
        elif kind == 2:
            made[at:at] = made[at : at + random.choice((1, 8, 64))]
        elif kind == 3:
            made[at] = random.randrange(256)
        else:
            del made[at:]
    return bytes(made)
