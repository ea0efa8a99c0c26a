"""Which parts of a text are, or look like, secrets: known forms, and names with random values.

No finding holds a value. Every pattern is bounded, so that a search takes time linear in the text's
length; each is searched only where one of its markers occurs.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache

from synapse_apply.model.frozen import frozen
from synapse_apply.model.lazy_patterns import lazy_pattern

# The comment of detect-secrets that allows a value on the same line, or on the next one.
_ALLOW_COMMENT = lazy_pattern(r"pragma: ?(?:allow|white)list[ -](nextline[ -])?secret")


@frozen
class Credential:
    """A secret that was found in a text, without its value; `line` and `column` start at 1.

    `is_certain`: it has a known form, such as that of a GitHub token.
    """

    kind: str
    line: int
    column: int
    is_certain: bool


@frozen
class _CredentialForm:
    """A known form of secrets; every match contains one of `markers`.

    A group `value` is the secret.
    """

    kind: str
    markers: tuple[str, ...]
    pattern: str
    is_certain: bool = True

    @cached_property
    def regex(self) -> re.Pattern[str]:
        """The compiled pattern; most are never needed."""
        return re.compile(self.pattern)


# A table of our own: detect-secrets takes 0.2 s to import and 0.5 ms a line, 40 times what all else
# of `validate` takes, keeps its settings in globals, and its entropy rules report every hash. Its
# comment is understood.
_FORMS = (
    _CredentialForm("a private key", ("PRIVATE KEY-----", "PRIVATE KEY BLOCK-----"),
          r"-----BEGIN (?:[A-Z]{2,10} ){0,2}PRIVATE KEY(?: BLOCK)?-----"),
    _CredentialForm("a key of age", ("AGE-SECRET-KEY-1",), r"\bAGE-SECRET-KEY-1[0-9A-Z]{58}\b"),
    _CredentialForm("an AWS access key", ("AKIA", "ASIA", "ABIA", "ACCA"),
          r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}\b"),
    _CredentialForm("a GitHub token", ("ghp_", "gho_", "ghu_", "ghs_", "ghr_"),
          r"\bgh[pousr]_[A-Za-z0-9]{36,251}\b"),
    _CredentialForm("a GitHub token", ("github_pat_",), r"\bgithub_pat_[A-Za-z0-9_]{22,251}\b"),
    _CredentialForm("a GitLab token", ("glpat-", "gldt-", "glrt-", "glcbt-", "glptt-"),
          r"\bgl(?:pat|dt|rt|cbt|ptt)-[A-Za-z0-9_\-]{20,64}"),
    _CredentialForm(("a Slack "
        "token"), ("xox", "xapp-"), r"\b(?:xox[abeoprs]|xapp)-[A-Za-z0-9\-]{10,250}"),
    _CredentialForm("a Slack webhook", ("hooks.slack.com",),
          r"hooks\.slack\.com/(?:services|workflows)/[A-Za-z0-9/_]{20,100}"),
    _CredentialForm("a Google API key", ("AIza",), r"\bAIza[0-9A-Za-z_\-]{35}"),
    _CredentialForm("a Google OAuth secret", ("GOCSPX-",), r"\bGOCSPX-[0-9A-Za-z_\-]{28}"),
    _CredentialForm("a Synapse access token", ("syn_",), r"\bsyn_[A-Za-z0-9_\-]{16,128}"),
    _CredentialForm("a JSON Web Token", ("eyJ",),
          r"(?<![A-Za-z0-9_\-])eyJ[A-Za-z0-9_\-]{10,2000}\.eyJ[A-Za-z0-9_\-]{10,4000}\.[A-Za-z0-9_\-]{10,2000}"),
    _CredentialForm("a Hugging Face token", ("hf_",), r"\bhf_[A-Za-z0-9]{30,40}\b"),
    _CredentialForm("an OpenAI or Anthropic key", ("sk-",),
          r"\bsk-(?:(?:proj|svcacct|admin|ant-[a-z0-9]{2,10})-[A-Za-z0-9_\-]{20,200}"
          r"|[A-Za-z0-9]{40,60}\b)"),
    _CredentialForm(("a Stripe "
        "key"), ("k_live_", "k_test_"), r"\b[srp]k_(?:live|test)_[A-Za-z0-9]{16,250}\b"),
    _CredentialForm("an npm token", ("npm_",), r"\bnpm_[A-Za-z0-9]{36}\b"),
    _CredentialForm("a PyPI token", ("pypi-AgE",), r"\bpypi-AgE[A-Za-z0-9_\-]{50,500}"),
    _CredentialForm(("a SendGrid "
        "key"), ("SG.",), r"\bSG\.[A-Za-z0-9_\-]{20,24}\.[A-Za-z0-9_\-]{39,50}"),
    _CredentialForm("an Azure storage key", ("AccountKey=",), r"AccountKey=[A-Za-z0-9+/]{86}=="),
    _CredentialForm("a password in a URL", ("://",),
          r"://[^\s/:@\"'{}$<>%*]{1,100}:(?P<value>[^\s/:@\"'{}$<>%*]{4,100})@", is_certain=False),
)  # fmt: skip

# Endings of names whose values are secret; `key` counts only behind one of the prefixes.
_SECRET_NAME_ENDINGS = (
    "key",
    "token",
    "secret",
    "passwd",
    "password",
    "passphrase",
    "_pwd",
    "credential",
)
_KEY_PREFIXES = ("_", "-", "api", "access", "secret", "private", "auth", "account", "signing")
_PASSWORD_ENDINGS = frozenset(("passwd", "password", "passphrase", "_pwd"))
# The assignment of a value behind such a name, in code, YAML, JSON and shell.
_ASSIGNMENT = lazy_pattern(
    r"s?(?P<close>[\"']?\]?)[ \t]{0,20}(?::[ \t]{0,4}str[ \t]{0,4})?(?::=|=>|=|:)[ \t]{0,20}"
    r"(?P<quote>[rbf]?[\"']|)(?P<value>[^\s\"'#,;(){}\[\]]{8,512})(?P<after>[\"']?)"
)
# Values that refer to something else, or are placeholders of documentation.
_PLACEHOLDER = lazy_pattern(
    r"^(?:\$|%|<|\{|@|!|env[.:\[]|os\.|self\.|args?\.|config\.|settings\.|var\.|vault:|ref:|file:|"
    r"https?://|None$|null$|true$|false$)"
    r"|example|placeholder|dummy|change[-_]?me|replace|your[-_]|redacted|insert|sample|xxx|\*\*\*"
    r"|\.\.\.|todo|fake|not[-_]a[-_]secret",
    re.IGNORECASE,
)
_MIN_ENTROPY_BITS, _MIN_PASSWORD_ENTROPY_BITS = 3.3, 2.75
_MIN_SECRET_LENGTH = 8  # as in `_ASSIGNMENT`; every form is longer

NOT_SHOWN_TEXT = "this value is not shown, because it looks like a secret"


def list_one_unallowed_credential_per_line(text: str) -> list[Credential]:
    """The secrets of a text in order, one for each line, without those that a comment allows."""
    found: dict[int, tuple[str, bool]] = {}
    for form in _iter_possible_forms(text):
        for match in form.regex.finditer(text):
            if form.is_certain or not _is_placeholder(match["value"]):
                found.setdefault(match.start(), (form.kind, form.is_certain))
    for start, kind in _iter_named_secrets(text):
        found.setdefault(start, (kind, False))
    if not found:
        return []
    # Lines are only needed for comments, which few texts have.
    lines = text.split("\n") if _ALLOW_COMMENT.search(text) else []
    line_starts = [0, *(newline.end() for newline in re.finditer("\n", text))]
    by_line: dict[int, Credential] = {}
    for start, (kind, is_certain) in sorted(found.items()):
        line = bisect_right(line_starts, start)
        is_first = line not in by_line or (is_certain and not by_line[line].is_certain)
        if is_first and not (lines and is_line_allowed_by_comment(lines, line)):
            by_line[line] = Credential(kind, line, start - line_starts[line - 1] + 1, is_certain)
    return [*by_line.values()]  # one for each line, a certain one before others


def contains_secret(text: str) -> bool:
    """Whether a text holds a secret of a known form; comments do not count."""
    return any(form.regex.search(text) for form in _iter_possible_forms(text) if form.is_certain)


def format_unless_secret(value: object) -> str:
    """A value as text, or a phrase that it is not shown where it holds a secret of a known form."""
    text = str(value)
    return "not shown, because it looks like a secret" if contains_secret(text) else text


def guess_secret_kind(setting_name: str, value: str) -> str:
    """What kind of secret a setting's value looks like, by its form and name; "" for none."""
    if len(value) < _MIN_SECRET_LENGTH:
        return ""
    if _has_form_marker(value):
        for form in _iter_possible_forms(value):
            match = form.regex.search(value)
            if match and (form.is_certain or not _is_placeholder(match["value"])):
                return form.kind
    if not _may_name_secret(setting_name):
        return ""
    for word, match in _assignments(f"{setting_name}={value}"):
        # A match inside the value would be of another name.
        if match["value"] == value:
            return _named_kind(word, value)
    return ""


def is_name_of_secret(name: str) -> bool:
    """Whether a setting of this name holds a secret, whatever its value is."""
    is_short = name.lower().rpartition("_")[2] in {"pass", "pw", "pwd"}
    return is_short or any(_assignments(f"{name}=any-value"))


def is_line_allowed_by_comment(lines: Sequence[str], line: int) -> bool:
    """Whether a comment allows the values on a line of a text, which is counted from 1."""
    own_comment = _ALLOW_COMMENT.search(lines[line - 1]) if line <= len(lines) else None
    previous_comment = _ALLOW_COMMENT.search(lines[line - 2]) if line > 1 else None
    return (own_comment is not None and not own_comment[1]) or (
        previous_comment is not None and bool(previous_comment[1])
    )


_FORM_MARKERS = tuple(mark for form in _FORMS for mark in form.markers)


def _has_form_marker(text: str) -> bool:
    """Whether a marker of any form occurs in a text; most values are settled by this check."""
    for mark in _FORM_MARKERS:  # noqa: SIM110 - any() takes twice as long
        if mark in text:
            return True
    return False


@lru_cache(maxsize=4096)
def _may_name_secret(name: str) -> bool:
    """Whether a name contains an ending of secret names; cached, as the same names recur."""
    lowered = name.lower()
    return any(word in lowered for word in _SECRET_NAME_ENDINGS)


def _iter_possible_forms(text: str) -> Iterator[_CredentialForm]:
    for form in _FORMS:
        for marker in form.markers:
            if marker in text:
                yield form
                break


def _iter_named_secrets(text: str) -> Iterator[tuple[int, str]]:
    """Offset and kind of each value that looks secret and whose name says so."""
    for word, match in _assignments(text):
        quote, after = match["quote"][-1:], match["after"]
        if quote and after != quote:
            continue  # the quoted text goes on behind a blank, which no key has
        # Unquoted values in code are expressions; in settings they reach to the end of the line.
        if not quote and (match["close"] or not _fills_rest_of_line(text, match)):
            continue
        kind = _named_kind(word, match["value"])
        if kind:
            yield match.start("value"), kind


def _assignments(text: str) -> Iterator[tuple[str, re.Match[str]]]:
    """Each ending of a secret name with the match of the value assigned to it.

    Endings are searched one by one: a pattern of all of them takes ten times as long.
    """
    lowered = text.lower()
    # Some letters are two characters in lower case, which shifts offsets.
    if len(lowered) != len(text):
        lowered = "".join(letter.lower() if letter.isascii() else letter for letter in text)
    for word in _SECRET_NAME_ENDINGS:
        offset = lowered.find(word)
        while offset >= 0:
            match = _ASSIGNMENT.match(text, offset + len(word))
            if match and (
                word != "key" or lowered[max(offset - 10, 0) : offset].endswith(_KEY_PREFIXES)
            ):
                yield word, match
            offset = lowered.find(word, offset + len(word))


def _fills_rest_of_line(text: str, match: re.Match[str]) -> bool:
    """Whether an unquoted value reaches to the end of its line, as in a file of settings."""
    end = match.end()
    remainder = text[end : end + 200].split("\n", 1)[0].strip()
    return not match["after"] and (not remainder or remainder.startswith(("#", "}", ",")))


def _is_placeholder(value: str) -> bool:
    """Whether a value is a variable, a placeholder, or the name's ending itself."""
    return value.lower() in _SECRET_NAME_ENDINGS or _PLACEHOLDER.search(value) is not None


def _named_kind(word: str, value: str) -> str:
    if _is_placeholder(value):
        return ""
    if word not in _PASSWORD_ENDINGS:
        return "what looks like a key or a token" if _looks_random(value) else ""
    looks_random = (
        _compute_entropy_bits(value) >= _MIN_PASSWORD_ENTROPY_BITS and not value.isalpha()
    )
    # Names such as `password: DATABASE_PASSWORD` refer to a secret and are none.
    return "what looks like a password" if looks_random and not _reads_as_words(value) else ""


def _looks_random(value: str) -> bool:
    """Whether a value has 16 characters or more, letters and digits, and the entropy of a key."""
    # Shorter texts, and those of letters or digits alone, are nearly always names, words or
    # numbers.
    if len(value) < 16 or not any(map(str.isdigit, value)) or not any(map(str.isalpha, value)):
        return False
    return _compute_entropy_bits(value) >= _MIN_ENTROPY_BITS and not _reads_as_words(value)


def _reads_as_words(value: str) -> bool:
    """Whether a value consists of words, numbers and short parts with separators between them."""
    parts = re.split(r"[-_./:]", value)
    return all(
        part.isalpha()
        or part.isdigit()
        or len(part) <= 4
        or (re.fullmatch(r"[a-z]{0,10}\d{1,4}[a-z]{0,4}", part) is not None)
        for part in parts
    )


def _compute_entropy_bits(value: str) -> float:
    """The Shannon entropy of a text, in bits for each character."""
    size = len(value)
    return -sum(n / size * math.log2(n / size) for n in Counter(value).values())
