r"""Which texts in a server's answer count as a secret that was sent, and are masked.

A server may quote what it was sent, and its answers end up in terminals, reports, files and the
state. So each text, key and id of an answer is masked right after it is parsed. This is in
addition to the redaction by path, which wraps every value at a path that is known to be secret.

- A value counts as it is, in hexadecimal and base64, also with blanks in them, as forms have it,
  and spelled by percent codes, HTML references and the escapes `\u`, `\U` and `\x`, up to six in
  one another (not by octal escapes: a secret may have a backslash before digits). So does a
  leading part of it, because servers shorten what they quote: 8 characters, or 4 after a prefix
  that many values share (`syn_`, `https://host/`), or 12 where those are words by their looks. A
  number counts by its digits, wherever its point is.
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
import sys
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from html.entities import html5
from threading import Lock
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from synapse_apply.model.json_types import JsonObject, JsonValue
from synapse_apply.model.lazy_patterns import lazy_pattern
from synapse_apply.model.secrets.secret_marks import MaskedText

MASK = "(sensitive)"

_MIN_RUN_LENGTH = 8
_CHARS_AFTER_PREFIX = 4
_MIN_LENGTH_OF_WORDS = 12
_MIN_SECRET_LENGTH, _MIN_MIXED_LENGTH = 6, 4
_MAX_PREFIX_LENGTH = 12
_MIN_DOCUMENT_RUN_LENGTH = 64
_MIN_KEY_LENGTH = 4
_MIN_LINE_LENGTH = 16
_MAX_CLEAN_TEXTS, _MAX_CLEAN_LENGTH = 10_000, 64
_MAX_DEPTH = 200

_VENDOR_PREFIX = lazy_pattern(r"(?:[A-Za-z]{1,10}[_-])+")
_SCHEME = lazy_pattern(r"(?:Bearer|Basic|Token) +", re.IGNORECASE)
_URL = lazy_pattern(r"[A-Za-z][A-Za-z0-9+.-]*://")
_TOKEN_HEADER = lazy_pattern(r"eyJ[A-Za-z0-9_-]+\.")
_PEM_HEADER = lazy_pattern(r"-----BEGIN [A-Z ]+-----\s*")
_WORDS = lazy_pattern(r"[A-Z]?[a-z]+(?:[-_. ]+[A-Z]?[a-z]+)*[-_. ]*")
_PLAIN_CHARS = lazy_pattern(r"[A-Za-z0-9._-]+")
# One character as URLs, HTML, JSON, JavaScript and Python write it; `_decode_escape` knows the
# groups. Not `\n`: lines are secrets of their own.
_ESCAPE = lazy_pattern(
    r"((?i:%(?:[0-7][\da-f]|[cd][\da-f]%[89ab][\da-f]|e[\da-f](?:%[89ab][\da-f]){2}|f[0-7](?:%[89ab]"
    r"[\da-f]){3})))|(&(?:[A-Za-z][A-Za-z\d]{1,31};|"
    + "|".join(sorted((name for name in html5 if name[-1] != ";"), reverse=True))
    + r"))|&#0*(\d{1,7});?|&#[xX]0*([\da-fA-F]{1,6});?"
    r"|(\\u[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2})|\\([\"'\\/])|[\\%]u+([\da-fA-F]{4})"
    r"|\\U00([\da-fA-F]{6})|\\x([\da-fA-F]{2})|\\[ux]\{0*([\da-fA-F]{1,6})\}"
)
_MAX_LAYERS = 6
# What stands between characters of base64 and hexadecimal that were broken into lines.
_GAP = lazy_pattern(r"(?:=?(?:\s|\\[nrtf]))+")
_LOWER_HEX = str.maketrans("ABCDEF", "abcdef")
_FLOAT = lazy_pattern(r"(?:^|[\[,]|\"\s*:)\s*-?\d+(?:\.\d|[eE])")
_URL_SAFE = str.maketrans("+/", "-_")
_MIXED_CHARS = lazy_pattern(r"(?=.*[A-Za-z]).*[^A-Za-z\s]")
# Names that the client looks up in answers: if a secret equals one, masking it would make the
# answer unreadable.
_PROTOCOL_NAMES = """
    count code configuration created cursor data description detail dry_run error errors field
    is_active job_id message meta next next_cursor pagination password previous provider
    request_id results status version
""".split()  # noqa: SIM905 - one a line would hide what is missing


class _SecretForm(NamedTuple):
    """A secret in one encoding: the shortest leading part that is masked, and the full text."""

    prefix: str
    full_text: str
    needs_word_boundary: bool  # masked only where no letter, digit or `_` is next to it
    code: str  # hex, base64 or ""


class _SecretSearch(NamedTuple):
    """The index for a search: every form begins with one of `keys`, each of `key_length`.

    `run_pattern` finds the runs of characters in which a key can be; `prefix_lengths` are in
    descending order. `clean_texts` caches short texts in which no secret was found. `hexed` and
    `base64` are for forms in these codes.
    """

    key_length: int
    keys: frozenset[str]
    run_pattern: re.Pattern[str]
    prefix_lengths: tuple[int, ...]
    forms_by_prefix: dict[str, list[_SecretForm]]
    clean_texts: set[str]
    hexed: _SecretSearch | None = None
    base64: _SecretSearch | None = None


# Words are masked where the answer arrives, after parsing: each text, key and id, for all declared
# secrets and tokens, in every form and by their leading characters. The secrets are registered
# before the first call (workspace/known_secrets.py), because a server may quote today what it was
# sent last week.
class Redactor:
    """Holds the secrets of a run and masks them in texts and parsed answers.

    Safe for many threads. A value may be added at any time and is masked from then on.
    """

    def __init__(self, values: Iterable[str | None] = ()) -> None:
        self._lock = Lock()
        self._secrets: set[str] = set()
        self._forms: set[_SecretForm] = set()
        self._public_texts: set[str] = set(_PROTOCOL_NAMES)
        self._search: _SecretSearch | None = None
        self._is_stale = False
        for value in values:
            self.mask_from_now_on(value)

    def __repr__(self) -> str:
        return f"<Redactor of {len(self._secrets)} values>"

    def mask_from_now_on(self, value: Any) -> None:
        """Mask this from now on, where it is long enough: a text, a number, a tree of secrets."""
        with self._lock:
            for part in _texts_to_mask(value):
                if part in self._secrets:
                    continue
                self._secrets.add(part)
                self._forms.update(_encoded_forms(part))
                self._is_stale = True

    # Otherwise a password that is also a user's name would be drift for ever.
    def stop_masking_equal_texts(self, texts: Iterable[str]) -> None:
        """From now on leave a text or key of an answer alone if it equals one of these."""
        with self._lock:
            self._public_texts.update(texts)

    def mask_secrets_in_text(self, text: str) -> str:
        """The text with its secrets masked, the same object when it has none."""
        search = self._fresh_search()
        return text if search is None else self._mask_string(text, search)

    def mask_json(self, value: Any) -> JsonValue:
        """A parsed value with the secrets of its texts, keys and numbers masked."""
        search = self._fresh_search()
        return value if search is None else self._mask_value(value, search, 0)

    def mask_text_value(self, value: Any, source_text: str) -> JsonValue:
        """As `mask_json` for what `source_text` parses to, but faster."""
        search = self._fresh_search()
        if search is None:
            return value
        # An escape (each `\\` is one layer more) or an exponent may hide a secret from a search.
        if not ("\\" in source_text or _FLOAT.search(source_text)) and not _list_all_spans(
            source_text, search
        ):
            return value
        return self._mask_value(value, search, 0)

    def _mask_value(self, value: Any, search: _SecretSearch, depth: int) -> JsonValue:
        kind = type(value)
        if kind is str:
            return self._mask_string(value, search)
        if kind is dict and depth < _MAX_DEPTH:
            return self._mask_mapping(value, search, depth)
        if kind is list and depth < _MAX_DEPTH:
            return [self._mask_value(item, search, depth + 1) for item in value]
        if kind is float or (kind is int and value.bit_length() < 10_000):
            digits = repr(value).replace(".", "")
            text = f"{value!r} {digits} {value:.0f}" if kind is float else digits
            if len(digits) >= _MIN_RUN_LENGTH or abs(value) >= 10 ** (_MIN_RUN_LENGTH - 1):
                masked = self._mask_string(text, search)
                return value if masked is text else MaskedText.from_original(MASK, value)
        # A container below _MAX_DEPTH, where no value of this API is.
        return MASK if kind in (dict, list) else value

    def _mask_mapping(self, value: dict[str, Any], search: _SecretSearch, depth: int) -> JsonObject:
        masked_mapping: dict[str, Any] = {}
        for key, child in value.items():
            name = self._mask_string(key, search)
            # Two keys may become equal when they are masked; neither value may be lost.
            while name in masked_mapping:
                name = MaskedText.from_original(f"{name}*", key)
            masked_mapping[name] = self._mask_value(child, search, depth + 1)
        return masked_mapping

    def _mask_string(self, text: str, search: _SecretSearch) -> str:
        # The same keys, and values such as a provider, occur in every object of a list.
        if text in search.clean_texts:
            return text
        masked = None if text in self._public_texts else _mask_spans(text, search)
        if masked is not None:
            return MaskedText.from_original(masked, text)
        if len(text) <= _MAX_CLEAN_LENGTH and len(search.clean_texts) < _MAX_CLEAN_TEXTS:
            search.clean_texts.add(text)
        return text

    def _fresh_search(self) -> _SecretSearch | None:
        """The index over all secrets added until now; None while there are none."""
        # Checked again under the lock, so that only one of several threads rebuilds it.
        if self._is_stale:
            with self._lock:
                if self._is_stale:
                    self._search = _build_search_or_none(self._forms)
                    self._is_stale = False
        return self._search


def _texts_to_mask(value: Any) -> Iterator[str]:
    """The texts of a secret value, each of which is masked by itself, if long enough."""
    if isinstance(value, dict):
        for child in value.values():
            yield from _texts_to_mask(child)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts_to_mask(item)
    elif isinstance(value, bool) or value is None:
        return
    elif isinstance(value, int):
        if abs(value) >= 10 ** (_MIN_RUN_LENGTH - 1):
            yield str(value)
    elif isinstance(value, str) and (text := value.strip()):
        if _is_maskable(text):
            yield text
        yield from _quotable_parts(text)


def _quotable_parts(text: str) -> Iterator[str]:
    """The parts of a longer secret that a server may quote alone.

    These are the values of a JSON document, the credential after `Bearer`, what `Basic` stands for,
    long lines, and the user and password of a URL, together and the password alone.
    """
    candidates: Iterable[str] = ()
    if text[0] in "{[":
        with suppress(ValueError, RecursionError):
            yield from _texts_to_mask(json.loads(text))
    elif scheme_match := _SCHEME.match(text):
        candidates = [text[scheme_match.end() :]]
        with suppress(ValueError):
            login = base64.b64decode(candidates[0], validate=True).decode()
            candidates += [login, login.partition(":")[2]]
    elif "\n" in text:
        lines = (line.strip() for line in text.splitlines())
        yield from (line for line in lines if len(line) >= _MIN_LINE_LENGTH and line[:5] != "-----")
    elif _URL.match(text):
        with suppress(ValueError):
            parts = urlsplit(text)
            if password := parts.password:
                login = f"{unquote(parts.username or '')}:{unquote(password)}"
                candidates = {password, unquote(password), login}
    yield from filter(_is_maskable, candidates)


def _is_maskable(text: str) -> bool:
    """Whether a value is long enough to be masked without hitting common words."""
    return len(text) >= _MIN_SECRET_LENGTH or (
        len(text) >= _MIN_MIXED_LENGTH and _MIXED_CHARS.match(text) is not None
    )


def _min_prefix_length(text: str) -> int:
    """How many leading characters of a secret suffice for a text to be masked."""
    if text[0] in "{[":
        # Documents of one kind begin alike: `{"type": "service_account", ...`.
        return min(len(text), _MIN_DOCUMENT_RUN_LENGTH)
    length = max(_MIN_RUN_LENGTH, _min_length_past_prefix(text))
    if _WORDS.fullmatch(text[:length]):
        length = max(length, _MIN_LENGTH_OF_WORDS)
    return min(length, len(text))


def _min_length_past_prefix(text: str) -> int:
    """The length of a prefix that many values share, plus the characters needed after it.

    0 if the text has no such prefix (`syn_`, `https://host/`, `Bearer `, a JWT or PEM header).
    """
    if match := _TOKEN_HEADER.match(text) or _PEM_HEADER.match(text):
        return match.end() + _MIN_RUN_LENGTH
    if match := _URL.match(text):
        host_end = text.find("/", match.end())
        if "@" not in text[match.end() : host_end if host_end >= 0 else len(text)]:
            return (len(text) if host_end < 0 else host_end + 1) + _CHARS_AFTER_PREFIX
        return match.end() + _CHARS_AFTER_PREFIX
    if match := _SCHEME.match(text):
        return match.end() + _CHARS_AFTER_PREFIX
    match = _VENDOR_PREFIX.match(text[:_MAX_PREFIX_LENGTH])
    return match.end() + _CHARS_AFTER_PREFIX if match else 0


def _encoded_forms(text: str) -> Iterator[_SecretForm]:
    """The encodings of a secret, each with the encoding of its leading part."""
    length = _min_prefix_length(text)
    needs_boundary = len(text) < _MIN_RUN_LENGTH or (
        length == len(text) and bool(_WORDS.fullmatch(text))
    )
    full_forms, prefixes = _list_forms(text), _list_forms(text[:length])
    if not _PLAIN_CHARS.fullmatch(text):
        full_forms += _list_escaped_forms(text)
        prefixes += _list_escaped_forms(text[:length])
    for (code, full_form), (_, prefix) in zip(full_forms, prefixes, strict=True):
        # An encoding that is shorter than a maskable text would hit common words.
        if full_form and len(prefix) >= min(length, _MIN_RUN_LENGTH):
            needs_own_word = needs_boundary and full_form[:length] == text[:length]
            yield _SecretForm(prefix, full_form, needs_own_word, code)


def _list_forms(text: str) -> list[tuple[str, str]]:
    """A value as it is, in hexadecimal and in base64 (both alphabets), in fixed order.

    In base64 a form is the characters that do not depend on what precedes and follows the value,
    for each of the three offsets in a group of bytes.
    """
    data = text.encode("utf-8", "surrogatepass")
    forms = [("", text), ("hex", data.hex())]
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + data).decode()
        stable = encoded[-(-offset * 8 // 6) : (offset + len(data)) * 8 // 6]
        forms += [("base64", stable), ("base64", stable.translate(_URL_SAFE))]
    return forms


def _list_escaped_forms(text: str) -> list[tuple[str, str]]:
    """A value as the JSON of an answer has it, and as forms do: with `+` for a blank."""
    in_json = (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1])
    with_slashes = (encoded.replace("/", "\\/") for encoded in in_json)
    return [("", form) for form in (*in_json, *with_slashes, text.replace(" ", "+"))]


def _build_search_or_none(forms: set[_SecretForm], code: str = "") -> _SecretSearch | None:
    forms_by_prefix: dict[str, list[_SecretForm]] = {}
    for form in forms:
        if form.code == code:
            forms_by_prefix.setdefault(form.prefix, []).append(form)
    if not forms_by_prefix:
        return None
    length = max(_MIN_KEY_LENGTH, min(_MIN_RUN_LENGTH, *map(len, forms_by_prefix)))
    keys = frozenset(prefix_text[:length] for prefix_text in forms_by_prefix)
    characters = "".join(sorted(set().union(*keys)))
    runs = re.compile(f"[{re.escape(characters)}]{{{length},}}")
    prefix_lengths = tuple(sorted(set(map(len, forms_by_prefix)), reverse=True))
    coded = () if code else (_build_search_or_none(forms, each) for each in ("hex", "base64"))
    return _SecretSearch(length, keys, runs, prefix_lengths, forms_by_prefix, set(), *coded)


def _iter_secret_spans(text: str, search: _SecretSearch | None) -> Iterator[tuple[int, int]]:
    """Start and end of each secret in a text, in order and without overlaps."""
    if search is None:
        return
    length, keys, end = search.key_length, search.keys, 0
    for run in search.run_pattern.finditer(text):
        run_start, run_end = run.span()
        for position in range(max(run_start, end), run_end - length + 1):
            if position >= end and text[position : position + length] in keys:
                secret_end = _secret_end(text, position, search)
                if secret_end > position:
                    end = secret_end
                    yield position, end


def _list_all_spans(
    text: str, search: _SecretSearch, layers: int = _MAX_LAYERS
) -> list[tuple[int, int]]:
    """Start and end of each secret in a text and in what its escapes stand for, sorted."""
    spans = list(_iter_secret_spans(text, search))
    compact = _GAP.sub("", text)
    coded = [
        *_iter_secret_spans(compact, search.base64),
        *_iter_secret_spans(compact.translate(_LOWER_HEX), search.hexed),
    ]
    spans += _locate_spans(coded, text, _GAP, lambda _: "")
    may_be_escaped = "%" in text or "&" in text or "\\" in text
    if layers and may_be_escaped and (decoded := _ESCAPE.sub(_decode_escape, text)) != text:
        found = _list_all_spans(decoded, search, layers - 1)
        spans += _locate_spans(found, text, _ESCAPE, _decode_escape)
    return sorted(spans)


def _locate_spans(
    spans: list[tuple[int, int]],
    text: str,
    pattern: re.Pattern[str],
    decode: Callable[[re.Match[str]], str],
) -> Iterator[tuple[int, int]]:
    """Where in a text the spans of what it stands for are, once `pattern` in it is decoded."""
    # Where each escape stands, and where the characters that it stands for begin and end.
    escapes, starts, ends = [(0, 0)], [0], [0]
    for match in pattern.finditer(text) if spans else ():
        starts.append(ends[-1] + match.start() - escapes[-1][1])
        ends.append(starts[-1] + len(decode(match)))
        escapes.append(match.span())
    for start, end in spans:
        first, last = (bisect_right(starts, at) - 1 for at in (start, end - 1))
        beyond = start - ends[first]
        span_start = escapes[first][0] if beyond < 0 else escapes[first][1] + beyond
        yield span_start, escapes[last][1] + max(0, end - ends[last])


def _decode_escape(escape: re.Match[str]) -> str:
    """The characters that an escape stands for; a half of a pair stays one."""
    group = escape.lastindex or 0
    text = escape[group]
    if group == 1:
        return unquote(text)
    if group <= 4:
        return html.unescape(text if group == 2 else f"&#{'x' * (group == 4)}{text};")
    if group == 5:
        return str(json.loads(f'"{text}"'))
    return text if group == 6 else chr(min(int(text, 16), sys.maxunicode))


def _secret_end(text: str, position: int, search: _SecretSearch) -> int:
    """The end of the longest secret that begins at `position`; `position` itself if none does."""
    end = position
    for length in search.prefix_lengths:
        for form in search.forms_by_prefix.get(text[position : position + length], ()):
            form_end = position + _count_common_chars(text, position, form.full_text, length)
            if form.needs_word_boundary and not _is_own_word(text, position, form_end, form):
                continue
            end = max(end, form_end)
    return end


def _count_common_chars(text: str, position: int, full_text: str, length: int) -> int:
    """How many leading characters of a form are in the text at `position`.

    The first `length` of them are known to be.
    """
    if text.startswith(full_text, position):
        return len(full_text)
    max_length = min(len(full_text), len(text) - position)
    while length < max_length and text[position + length] == full_text[length]:
        length += 1
    return length


def _is_own_word(text: str, position: int, end: int, form: _SecretForm) -> bool:
    """Whether `text[position:end]` is the complete form, with no word character next to it."""
    if end - position < len(form.full_text):
        return False
    before, after = text[position - 1 : position], text[end : end + 1]
    return not any(char.isalnum() or char == "_" for char in (before, after))


def _mask_spans(text: str, search: _SecretSearch) -> str | None:
    """The text with its secrets masked; None if there are none."""
    pieces, end = [], 0
    for secret_start, secret_end in _list_all_spans(text, search):
        if secret_start >= end:
            pieces += [text[end:secret_start], MASK]
        end = max(end, secret_end)
    return "".join((*pieces, text[end:])) if pieces else None
