"""No error, repr or traceback of this folder holds a secret value in any spelling."""

from __future__ import annotations

import base64
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from synapse_apply.model.errors import InputError, SecretUnavailable
from synapse_apply.model.values import SecretRef, Sensitive
from synapse_apply.secrets.keys import (
    KEY_VARIABLE,
    StateKey,
    StateKeys,
    load_keys_and_restrict_files,
)
from synapse_apply.secrets.macs import compute_mac
from synapse_apply.secrets.resolve import SecretResolver, SecretStore

CANARY = "cAnArY-5ecret-VaLuE"


def spellings(value: str) -> Iterator[str]:
    """Raw, hex, and base64 at each of the three offsets."""
    yield value
    yield value.encode().hex()
    for offset in range(3):
        coded = base64.b64encode(b"x" * offset + value.encode()).decode()
        yield coded[4:-4]


def chain_of(problem: BaseException | None) -> Iterator[BaseException]:
    """The error, its causes and contexts, shown or not."""
    while problem is not None:
        yield problem
        problem = problem.__cause__ or problem.__context__


def texts_of(problem: BaseException) -> str:
    """Everything that printing, logging or pickling an error could show."""
    shown = ["".join(traceback.format_exception(problem))]
    for one in chain_of(problem):
        shown += [str(one), repr(one), repr(one.args), repr(vars(one))]
    return "\n".join(shown)


BAD = {
    "broken JSON": (f'{{"a": {CANARY}}}'.encode(), "json"),
    "JSON cut short": (f'{{"a": "{CANARY}'.encode(), "json"),
    "a key twice": (f'{{"{CANARY}": 1, "{CANARY}": 2}}'.encode(), "json"),
    "not UTF-8": (CANARY.encode() + b"\xff", "text"),
    "unknown format": (CANARY.encode(), "toml"),
    "too large": (CANARY.encode() * 100_000, "text"),
    "deep JSON": (b'["' + CANARY.encode() + b'",' + b"[" * 100_000, "json"),
    "a large number": (b'["' + CANARY.encode() + b'",' + b"9" * 10_000 + b"]", "json"),
}


@pytest.mark.parametrize("case", BAD)
def test_errors_of_files_hold_no_content(tmp_path: Path, case: str) -> None:
    """Whatever is wrong with the content."""
    data, form = BAD[case]
    (tmp_path / "key").write_bytes(data)
    store = SecretStore(SecretResolver(tmp_path, {}))
    with pytest.raises(SecretUnavailable) as caught:
        store.resolve_secret(SecretRef("file", "key", form))
    shown = texts_of(caught.value)
    assert not [text for text in spellings(CANARY) if text in shown]


@pytest.mark.parametrize("name", ["SYNAPSE_X", "NOT_LISTED", "RAW_BAD", "RAW_JSON"])
def test_errors_of_variables_hold_no_content(tmp_path: Path, name: str) -> None:
    """Forbidden, not listed, not UTF-8, not JSON."""
    value = CANARY + "\udcff" if name == "RAW_BAD" else CANARY
    store = SecretStore(SecretResolver(tmp_path, {name: value}, ["RAW_*"]))
    with pytest.raises(SecretUnavailable) as caught:
        store.resolve_secret(SecretRef("env", name, "json"))
    shown = texts_of(caught.value)
    assert not [text for text in spellings(CANARY) if text in shown]


@pytest.mark.parametrize("text", [CANARY + "!!", "c" + CANARY.replace("-", "")])
def test_errors_of_keys_hold_no_key(tmp_path: Path, text: str) -> None:
    """Neither when it is not base64 nor when it is too short."""
    with pytest.raises(InputError) as caught:
        load_keys_and_restrict_files({KEY_VARIABLE: text}, tmp_path / "none")
    assert text not in texts_of(caught.value)


def test_a_value_that_is_not_json_is_refused_without_showing_it() -> None:
    """The encoder's own error names the type alone."""
    key = StateKey(b"k" * 32, "test")
    with pytest.raises(TypeError) as caught:
        compute_mac(key, "s", ("a",), Sensitive({"a": CANARY.encode()}))
    assert CANARY not in texts_of(caught.value)


def test_stores_and_resolvers_show_nothing(tmp_path: Path) -> None:
    """Their repr is the default one, and values in their cache are masked."""
    store = SecretStore(
        SecretResolver(tmp_path, {"A": CANARY}), StateKeys((StateKey(b"k" * 32, "test"),))
    )
    value = store.resolve_secret(SecretRef("env", "A"))
    for text in (repr(store), f"{value}", repr([value]), repr(store.compute_mac("s", (), value))):
        assert CANARY not in text
