"""Secrets in a server's words: which forms and which leading parts of a value count as one.

A server may quote what it was sent, and its words go into terminals, reports, files and the
state. So each text, key and id of an answer is masked right after it is parsed. This adds to the
redaction by path: what stands at a secret place is wrapped there, whatever it is.

- A value counts in each form of `secret_forms` and `_escaped_forms`. So does a leading part of it,
  because servers shorten what they quote: 8 characters, or 4 after a prefix that many values share
  (`syn_`, `https://host/`), or 12 where those are words by their looks.
- A value of fewer than 8 characters counts only as a word of its own; one of fewer than 6 only when
  letters are mixed with something else; one of fewer than 4 never.
- A text or key that equals a public one (what a manifest declares in plain, names of fields) is
  left as it is.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from threading import Lock
from typing import Any, NamedTuple
from urllib.parse import quote, quote_plus, unquote, urlsplit

from synapse_apply.model.masked import MaskedText

MASK = "(sensitive)"

_RUN = 8
_AFTER_PREFIX = 4
_LONGER_THAN_WORDS = 12
_SHORTEST_WORD, _SHORTEST = 6, 4
_LONGEST_PREFIX = 12
_DOCUMENT_RUN = 64
_LEAST_KEY = 4
_SHORTEST_LINE = 16
_MOST_REMEMBERED, _SHORT = 10_000, 64
_DEEPEST = 200

_VENDOR_PREFIX = re.compile(r"(?:[A-Za-z]{1,10}[_-])+")
_SCHEME = re.compile(r"(?:Bearer|Basic|Token) +")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_TOKEN_HEADER = re.compile(r"eyJ[A-Za-z0-9_-]+\.")
_PEM_HEADER = re.compile(r"-----BEGIN [A-Z ]+-----\s*")
_WORDS = re.compile(r"[A-Z]?[a-z]+(?:[-_. ]+[A-Z]?[a-z]+)*[-_. ]*")
_PLAIN = re.compile(r"[A-Za-z0-9._-]+")
_PERCENT = re.compile(r"%[0-9A-F]{2}")
_URL_SAFE = str.maketrans("+/", "-_")
_MIXED = re.compile(r"(?=.*[A-Za-z]).*[^A-Za-z\s]")
# Names that the client looks for in answers: masked, an answer could not be read.
_PROTOCOL = """
    count code configuration created cursor data description detail dry_run error errors field
    is_active job_id message meta next next_cursor pagination password previous provider
    request_id results status version
""".split()  # noqa: SIM905 - one a line would hide what is missing


class _Form(NamedTuple):
    """A secret in one form: its shortest leading part that counts, and all of it."""

    least: str
    whole: str
    is_word: bool  # counts only as a word of its own


class _Search(NamedTuple):
    """What texts are searched with: `runs` finds where any of `keys` could be.

    `clean` are short texts that were searched.
    """

    key_length: int
    keys: frozenset[str]
    runs: re.Pattern[str]
    lengths: tuple[int, ...]
    forms: dict[str, tuple[_Form, ...]]
    clean: set[str]


class Redactor:
    """The secrets of a run, and the mask that takes them out of a server's words.

    Safe for many threads. Values may be added at any time and count from then on.
    """

    def __init__(self, values: Iterable[str | None] = ()) -> None:
        self._lock = Lock()
        self._known: set[str] = set()
        self._forms: dict[str, set[_Form]] = {}
        self._public: set[str] = set(_PROTOCOL)
        self._search: _Search | None = None
        self._is_stale = False
        for value in values:
            self.add(value)

    def __repr__(self) -> str:
        return f"<Redactor of {len(self._known)} values>"

    def add(self, value: Any) -> None:
        """A secret: a text, a number, or JSON with secrets in it."""
        with self._lock:
            for part in _parts(value):
                if part in self._known:
                    continue
                self._known.add(part)
                for form in _forms(part):
                    self._forms.setdefault(form.least, set()).add(form)
                    self._is_stale = True

    def allow(self, texts: Iterable[str]) -> None:
        """Texts that are public: an answer's text or key that equals one is left as it is."""
        with self._lock:
            self._public.update(texts)

    def mask_text(self, text: str) -> str:
        """The text with its secrets masked, the same object when it has none."""
        search = self._current()
        return text if search is None else self._text(text, search)

    def mask_json(self, value: Any) -> Any:
        """A parsed value with the secrets of its texts, keys and numbers masked."""
        search = self._current()
        return value if search is None else self._walk(value, search, 0)

    def mask_parsed(self, value: Any, text: str) -> Any:
        """The same for a value whose JSON text is at hand: mostly the text shows it has none."""
        search = self._current()
        if search is None:
            return value
        # What is escaped otherwise than JSON must be is not seen in the text.
        if "\\u" not in text and next(_places(text, search), None) is None:
            return value
        return self._walk(value, search, 0)

    def _walk(self, value: Any, search: _Search, depth: int) -> Any:
        kind = type(value)
        if kind is str:
            return self._text(value, search)
        if kind is dict and depth < _DEEPEST:
            return self._mapping(value, search, depth)
        if kind is list and depth < _DEEPEST:
            return [self._walk(item, search, depth + 1) for item in value]
        if kind is int and abs(value) >= 10 ** (_RUN - 1):
            digits = str(value) if value.bit_length() < 10_000 else ""
            masked = self._text(digits, search)
            return MaskedText.of(MASK, value) if masked is not digits else value
        # Nothing that the engine reads lies so deep.
        return MASK if kind in (dict, list) else value

    def _mapping(self, value: dict[str, Any], search: _Search, depth: int) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for key, below in value.items():
            name = self._text(key, search)
            while name in made:
                name = MaskedText.of(f"{name}*", key)
            made[name] = self._walk(below, search, depth + 1)
        return made

    def _text(self, text: str, search: _Search) -> str:
        # Keys, and values such as a provider, stand in every object.
        if text in search.clean:
            return text
        masked = None if text in self._public else _mask_or_none(text, search)
        if masked is not None:
            return MaskedText.of(masked, text)
        if len(text) <= _SHORT and len(search.clean) < _MOST_REMEMBERED:
            search.clean.add(text)
        return text

    def _current(self) -> _Search | None:
        if self._is_stale:
            with self._lock:
                if self._is_stale:
                    self._search = _search_for(self._forms)
                    self._is_stale = False
        return self._search


def _parts(value: Any) -> Iterator[str]:
    """The texts of a secret that each count by themselves."""
    if isinstance(value, dict):
        for below in value.values():
            yield from _parts(below)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _parts(item)
    elif isinstance(value, bool) or value is None:
        return
    elif isinstance(value, int):
        if abs(value) >= 10 ** (_RUN - 1):
            yield str(value)
    elif isinstance(value, str) and (text := value.strip()):
        if _counts(text):
            yield text
        yield from _quotable_parts(text)


def _quotable_parts(text: str) -> Iterator[str]:
    """What a server may quote of a longer secret: values of a document, lines, a URL's password."""
    if text[0] in "{[":
        with suppress(ValueError, RecursionError):
            yield from _parts(json.loads(text))
    elif found := _SCHEME.match(text):
        yield from (one for one in (text[found.end() :],) if _counts(one))
    elif "\n" in text:
        lines = (line.strip() for line in text.splitlines())
        yield from (one for one in lines if len(one) >= _SHORTEST_LINE and one[:5] != "-----")
    elif _URL.match(text):
        try:
            password = urlsplit(text).password
        except ValueError:
            return
        yield from (
            (one for one in {password, unquote(password)} if _counts(one)) if password else ()
        )


def _counts(text: str) -> bool:
    """Whether a value is long enough to be looked for."""
    return len(text) >= _SHORTEST_WORD or (
        len(text) >= _SHORTEST and _MIXED.match(text) is not None
    )


def _least_length(text: str) -> int:
    """How many leading characters of a value count as the value."""
    if text[0] in "{[":
        return min(len(text), _DOCUMENT_RUN)
    least = max(_RUN, _public_prefix(text))
    if _WORDS.fullmatch(text[:least]):
        least = max(least, _LONGER_THAN_WORDS)
    return min(least, len(text))


def _public_prefix(text: str) -> int:
    """The length of what many values begin with, and of the characters after it that are needed."""
    if found := _TOKEN_HEADER.match(text) or _PEM_HEADER.match(text):
        return found.end() + _RUN
    if found := _URL.match(text):
        host = text.find("/", found.end())
        if "@" not in text[found.end() : host if host >= 0 else len(text)]:
            return (len(text) if host < 0 else host + 1) + _AFTER_PREFIX
        return found.end() + _AFTER_PREFIX
    if found := _SCHEME.match(text):
        return found.end() + _AFTER_PREFIX
    found = _VENDOR_PREFIX.match(text[:_LONGEST_PREFIX])
    return found.end() + _AFTER_PREFIX if found else 0


def _forms(text: str) -> Iterator[_Form]:
    """The forms of a value with their leading parts, which begin as the leading part's do."""
    length = _least_length(text)
    is_word = len(text) < _RUN or (length == len(text) and bool(_WORDS.fullmatch(text)))
    whole, least = secret_forms(text), secret_forms(text[:length])
    if not _PLAIN.fullmatch(text):
        whole += _escaped_forms(text)
        least += _escaped_forms(text[:length])
    for full, begin in zip(whole, least, strict=True):
        # What is as short as a word in another form is one, too.
        if full and len(begin) >= min(length, _RUN):
            yield _Form(begin, full, is_word=is_word and full[:length] == text[:length])


def secret_forms(text: str) -> list[str]:
    """A value as texts, JSON, URLs, HTML, hexadecimal and base64 write it.

    The forms come in one order for all texts of one alphabet. In base64 they are the characters
    that stay the same whatever stands before and after.
    """
    data = text.encode("utf-8", "surrogatepass")
    forms = [text, data.hex(), data.hex().upper()]
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + data).decode()
        stable = encoded[-(-offset * 8 // 6) : (offset + len(data)) * 8 // 6]
        forms += [stable, stable.translate(_URL_SAFE)]
    return forms


def _escaped_forms(text: str) -> list[str]:
    """The same for the forms that differ only where a text has other than plain characters."""
    data = text.encode("utf-8", "surrogatepass")
    in_json = (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1])
    in_url = (quote(data, safe=""), quote(data), quote_plus(data), quote(data, safe="/:@"))
    in_html = html.escape(text)
    return [
        *in_json,
        json.dumps(in_json[0])[1:-1],
        *(one.replace("/", "\\/") for one in in_json),
        *in_url,
        *(_PERCENT.sub(lambda found: found[0].lower(), one) for one in in_url),
        in_html,
        in_html.replace("&#x27;", "&#39;").replace("&quot;", "&#34;"),
        in_html.replace("&#x27;", "&apos;"),
        html.escape(text, quote=False),
    ]


def _search_for(forms: dict[str, set[_Form]]) -> _Search | None:
    if not forms:
        return None
    length = max(_LEAST_KEY, min(_RUN, *map(len, forms)))
    keys = frozenset(least[:length] for least in forms)
    characters = "".join(sorted(set().union(*keys)))
    runs = re.compile(f"[{re.escape(characters)}]{{{length},}}")
    lengths = tuple(sorted(set(map(len, forms)), reverse=True))
    return _Search(
        length, keys, runs, lengths, {at: tuple(some) for at, some in forms.items()}, set()
    )


def _places(text: str, search: _Search) -> Iterator[tuple[int, int]]:
    """Where secrets stand in a text: begin and end, in order, none in another."""
    length, keys, end = search.key_length, search.keys, 0
    for run in search.runs.finditer(text):
        first, last = run.span()
        for at in range(max(first, end), last - length + 1):
            if at >= end and text[at : at + length] in keys:
                found = _end_of_secret(text, at, search)
                if found > at:
                    end = found
                    yield at, end


def _end_of_secret(text: str, at: int, search: _Search) -> int:
    """Where the longest secret that begins here ends; `at` when none does."""
    end = at
    for length in search.lengths:
        for form in search.forms.get(text[at : at + length], ()):
            last = at + _common(text, at, form.whole, length)
            if form.is_word and not _is_alone(text, at, last, form):
                continue
            end = max(end, last)
    return end


def _common(text: str, at: int, whole: str, length: int) -> int:
    """How many characters of a form stand here; `length` of them are known to."""
    if text.startswith(whole, at):
        return len(whole)
    most = min(len(whole), len(text) - at)
    while length < most and text[at + length] == whole[length]:
        length += 1
    return length


def _is_alone(text: str, at: int, end: int, form: _Form) -> bool:
    if end - at < len(form.whole):
        return False
    before, after = text[at - 1 : at], text[end : end + 1]
    return not any(sign.isalnum() or sign == "_" for sign in (before, after))


def _mask_or_none(text: str, search: _Search) -> str | None:
    """The masked text, None where there is nothing to mask."""
    pieces, end = [], 0
    for first, last in _places(text, search):
        pieces += [text[end:first], MASK]
        end = last
    return "".join((*pieces, text[end:])) if pieces else None
