"""What counts as a secret in a server's words, and what stays a word."""

from __future__ import annotations

import base64
import html
import json
from urllib.parse import quote, quote_plus

import pytest

from synapse_apply import RemoteError
from synapse_apply.applying.body import reveal
from synapse_apply.kinds.wire import require_remote_id_of_answer, wrap_secrets_and_withhold_masked
from synapse_apply.manifests.schemas import read_marks_of_storage_secrets
from synapse_apply.model import redaction
from synapse_apply.model.redaction import MASK, Redactor
from synapse_apply.model.secrets.secret_marks import MaskedText, contains_masked_text, unmask_value
from synapse_apply.model.values import Sensitive

SECRET = 'T0ken/can+ary"&<é\\0123456789'


def lower_escapes(text: str) -> str:
    quoted = quote(text, safe="")
    return "".join(c.lower() if quoted[max(i - 2, 0) : i].count("%") else c
                   for i, c in enumerate(quoted))  # fmt: skip


def nest(text: str, times: int) -> str:
    return nest(text.replace("%", "%25"), times - 1) if times else text


FORMS = {
    "raw": SECRET,
    "json": json.dumps(SECRET)[1:-1],
    "json in utf-8": json.dumps(SECRET, ensure_ascii=False)[1:-1],
    "json in json": json.dumps(json.dumps(SECRET))[3:-3],
    "json with escaped slashes": json.dumps(SECRET)[1:-1].replace("/", "\\/"),
    "url": quote(SECRET, safe=""),
    "url path": quote(SECRET),
    "url in lower case": lower_escapes(SECRET),
    "form": quote_plus(SECRET),
    "html": html.escape(SECRET),
    "html numbers": html.escape(SECRET).replace("&quot;", "&#34;"),
    "each character in percent codes": "".join(f"%{byte:02X}" for byte in SECRET.encode()),
    "percent in percent": quote(quote(SECRET, safe=""), safe=""),
    "each character as a number of HTML": "".join(f"&#{ord(one)};" for one in SECRET),
    "hexadecimal numbers of HTML": "".join(f"&#x{ord(one):X};" for one in SECRET),
    "numbers of HTML without an end": "".join(f"&#{ord(one):05d}" for one in SECRET),
    "each character as u": "".join(f"\\u{ord(one):04x}" for one in SECRET),
    "each character as u in JSON": "".join(f"\\\\u{ord(one):04X}" for one in SECRET),
    "each byte as x": "".join(f"\\x{ord(one):02x}" for one in SECRET),
    "a mixture": "".join(
        (f"%{ord(one):02x}", f"&#{ord(one)};", f"\\u{ord(one):04x}", one)[at % 4]
        if ord(one) < 128
        else one
        for at, one in enumerate(SECRET)
    ),
    "references with leading zeros": "".join(f"&#{ord(one):08d};" for one in SECRET),
    "many leading zeros": "".join(f"&#{'0' * 5000}{ord(one)};" for one in SECRET),
    "hexadecimal references with zeros": "".join(f"&#X{ord(one):08x};" for one in SECRET),
    "long names of HTML": SECRET.replace("+", "&plus;")
    .replace("0123", "01&#1;23")
    .replace("/", "&sol;")
    .replace('"', "&QUOT;")
    .replace("&<", "&ampamp;&lt"),
    "braces of JavaScript": "".join(f"\\u{{{ord(one):x}}}" for one in SECRET),
    "braces with zeros": "".join(f"\\u{{{ord(one):06X}}}" for one in SECRET),
    "escape() of JavaScript": "".join(f"%u{ord(one):04x}" for one in SECRET),
    "long escapes of Python": "".join(f"\\U{ord(one):08x}" for one in SECRET),
    "escapes of Java": "".join(f"\\uu{ord(one):04x}" for one in SECRET),
    "repr": SECRET.encode("unicode_escape").decode().replace("'", "\\'"),
    "percent six times": nest(quote(SECRET, safe=""), 5),
    "hex whose case changes": "".join(
        (one.upper, one.lower)[at % 3 == 0]() for at, one in enumerate(SECRET.encode().hex())
    ),
    "hex with blanks": SECRET.encode().hex(" "),
    **{
        f"base64 with {name}": gap.join(
            base64.b64encode(SECRET.encode()).decode()[at : at + 5] for at in range(0, 40, 5)
        )
        for name, gap in {
            "line breaks": "\r\n",
            "blanks": " ",
            "line breaks of JSON": "\\n",
            "references": "&NewLine;",
            "percent codes": "%0D%0A",
            "soft breaks": "=\n",
        }.items()
    },
    "HTML in JSON": json.dumps(html.escape(SECRET))[1:-1],
    "base64 in percent codes": "".join(
        f"%{byte:02x}" for byte in base64.b64encode(SECRET.encode())
    ),
    "hex": SECRET.encode().hex(),
    "HEX": SECRET.encode().hex().upper(),
    **{
        f"base64 at {offset}, {encode.__name__}": encode(b"abc"[:offset] + SECRET.encode()).decode()
        for offset in range(3)
        for encode in (base64.b64encode, base64.urlsafe_b64encode)
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_masked(form):
    """The whole value in a text, but for characters of base64 that its neighbours share."""
    masked = Redactor([SECRET]).mask_secrets_in_text(f"it said {FORMS[form]}, no more")
    assert masked.startswith("it said ")
    assert masked.endswith(", no more")
    left = masked.removeprefix("it said ").removesuffix(", no more").replace(MASK, "")
    assert len(left) <= (9 if "base64" in form else 0), masked


@pytest.mark.parametrize("length", [8, 9, 20, len(SECRET) - 1])
@pytest.mark.parametrize("encode", [str, lambda text: text.encode().hex(), quote])
def test_a_value_cut_short_is_masked(length, encode):
    """Eight leading characters are enough, in other forms as well."""
    cut = encode(SECRET[:length])
    assert Redactor([SECRET]).mask_secrets_in_text(f"<{cut}...>") == f"<{MASK}...>"


@pytest.mark.parametrize(
    ("secret", "shown", "hidden"),
    [
        ("syn_4f9a8b7c6d5e", "syn_abcd is syn_", "syn_4f9a…"),
        ("ghp_q8ZX81kk00aa", "ghp_", "ghp_q8ZX"),
        ("AKIAIOSFODNN7EXAMPLE", "AKIA, AKIAXYZ", "AKIAIOSF"),
        ("https://hooks.example.com/T0P/s3cret", "https://hooks.example.com/", "/T0P/s"),
        ("postgres-main-9f3a77", "postgres is down, postgres-ma", "postgres-main-9f"),
        ("Bearer abcdef123456", "Bearer token", "abcdef12"),
        ("hunter2", "hunter22 xhunter2", "hunter2"),
        ("pa55", "pa555 spa55", "pa55"),
        ("administrator", "administr", "administrator"),
        ("password", "passwords, my_password", "password:"),
    ],
)
def test_words_that_are_no_secret_stay(secret, shown, hidden):
    """What many values begin with, and what has a short value in it, is not the value."""
    redactor = Redactor([secret])
    assert redactor.mask_secrets_in_text(shown) == shown
    if hidden.startswith("/"):
        hidden = secret[: secret.index(hidden) + len(hidden)]
    assert MASK in redactor.mask_secrets_in_text(f"({hidden})")


def test_a_plain_value_is_masked_in_any_spelling():
    """One of letters and digits, in an error page, beside what is kept as it is written."""
    secret = "syn0123456789abcdef"
    spelled = (
        "".join(f"&#x{ord(one):x};" for one in secret),
        "".join(f"%{ord(one):x}" for one in secret),
    )
    page = f"<p title=&quot;%2Fa&quot;>{spelled[0]}</p>100%25 \\u00e9 {spelled[1]}&amp;b \\ud83d %ff &#xffffff;"
    redactor = Redactor([secret])
    expected = page.replace(spelled[0], MASK).replace(spelled[1], MASK)
    assert redactor.mask_secrets_in_text(page) == expected
    assert redactor.mask_json({"page": page}) == {"page": expected}
    source = json.dumps({"page": page})
    assert redactor.mask_text_value(json.loads(source), source) == {"page": expected}
    kept = "&quot;%2Fa&quot; \\u00e9 \\ud83d %ff &#xffffff; \\n &nosuch; C:\\new"
    assert redactor.mask_secrets_in_text(kept) is kept


@pytest.mark.parametrize(
    "text",
    ["%2525 &amp;amp; ", "%2525252525252541 ", "&#0000000000", "\\u{0000", "\\uuuuuu", "YWJj\n", "&ampa",
     nest(quote(SECRET, safe=""), 5)],
)  # fmt: skip
def test_masking_an_escaped_text_takes_work_in_proportion(monkeypatch, text):
    """Twice the text, twice the escapes that are decoded: none is looked at anew for each secret."""
    decoded = []
    decode = redaction._decode_escape
    monkeypatch.setattr(
        redaction, "_decode_escape", lambda escape: decoded.append(1) or decode(escape)
    )
    search = redaction._iter_secret_spans
    monkeypatch.setattr(
        redaction,
        "_iter_secret_spans",
        lambda text, index: searched.append(len(text)) or search(text, index),
    )
    searched: list[int] = []
    counts = []
    for length in (2000, 4000):
        decoded.clear()
        searched.clear()
        Redactor([SECRET]).mask_secrets_in_text(text * length)
        counts.append((len(decoded), sum(searched)))
    assert counts[1] == (2 * counts[0][0], 2 * counts[0][1])


@pytest.mark.parametrize(
    "number", [4111111111111111.0, 4.111111111111111e20, 4111.111111111111, 0.4111111111111111]
)
def test_a_number_is_masked_by_its_digits(number):
    """Whatever the place of its point, and however it is written."""
    redactor = Redactor(["4111111111111111"])
    for source in (json.dumps({"a": number}), f'{{"a" : {number:.15e}}}'):
        masked = redactor.mask_text_value(json.loads(source), source)
        assert masked == {"a": MASK}
    assert redactor.mask_json([411.5, 4111111.0]) == [411.5, 4111111.0]


@pytest.mark.parametrize("secret", ["", "abc", "root", "admin", "8080", "1", None, True, 12, "   "])
def test_what_is_too_short_is_no_secret(secret):
    """It would be found everywhere."""
    text = "root of admin on 8080: abc 1 12 True"
    assert Redactor([secret]).mask_secrets_in_text(text) is text


def test_parts_of_a_secret_document_are_secrets():
    """JSON, key files of several lines, passwords in urls: a server may quote a part."""
    key = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0\nBAQEFAASCBKcwggSj\n-----END"
    redactor = Redactor([json.dumps({"private": {"key": "q1w2e3r4t5"}, "n": 123456789}), key])
    redactor.mask_from_now_on("postgresql://ci:p%40ss-w0rd@db.example.com/state")
    redactor.mask_from_now_on({"token": ["zx81-spectrum"]})
    for text in ("q1w2e3r4t5", "BAQEFAASCBKcwggSj", "p@ss-w0rd", "p%40ss-w0rd", "zx81-spectrum"):
        assert redactor.mask_secrets_in_text(f"a {text} b") == f"a {MASK} b", text
    assert (
        redactor.mask_secrets_in_text("-----BEGIN PRIVATE KEY-----")
        == "-----BEGIN PRIVATE KEY-----"
    )
    assert redactor.mask_json({"n": 123456789, "m": 1234}) == {
        "n": MASK,
        "m": 1234,
    }


def test_keys_and_values_at_every_depth():
    """Two keys that are masked stay two; what lies too deep to be walked is no value at all."""
    redactor = Redactor([SECRET, "an0ther-secret"])
    value = {SECRET: 1, "an0ther-secret": [{"a": [SECRET]}], "b": SECRET.encode().hex()}
    masked = redactor.mask_json(value)
    assert masked == {MASK: 1, f"{MASK}*": [{"a": [MASK]}], "b": MASK}
    assert unmask_value(masked) == value
    assert contains_masked_text(masked)
    deep: list[object] = [SECRET]
    for _ in range(300):
        deep = [deep]
    assert SECRET not in json.dumps(redactor.mask_json(deep))


def test_text_with_escapes_is_not_believed_to_be_clean():
    """A server can escape every letter of a JSON text."""
    text = '{"a": "' + "".join(f"\\u{ord(c):04x}" for c in SECRET) + '"}'
    assert Redactor([SECRET]).mask_text_value(json.loads(text), text) == {"a": MASK}


@pytest.mark.parametrize(
    "spelling",
    [r"\x{:02x}", r"\x5cx{:02x}", r"\x5cx5cx5cx5cx5cx{:02x}", r"%5c\x75%7b{:x}%7d",
     r"%5c\x78{:02x}", r"%5cx{:02x}", r"&#92;\x75{:04x}", r"\x5c\x75{:04x}"],
)  # fmt: skip
def test_layers_of_escapes_in_an_answer(spelling):
    """What JSON doubles is no layer of its own: the parsed value decides."""
    spelled = "".join(spelling.format(ord(one)) for one in SECRET)
    redactor, source = Redactor([SECRET]), json.dumps({"a": f"was {spelled}."})
    masked = redactor.mask_text_value(json.loads(source), source)
    assert masked == redactor.mask_json(json.loads(source)) == {"a": f"was {MASK}."}


def test_public_texts_stay():
    """What manifests declare in plain is no secret, where it stands alone."""
    redactor = Redactor(["minio-admin-9"])
    redactor.stop_masking_equal_texts(["minio-admin-9"])
    assert redactor.mask_json({"user": "minio-admin-9"}) == {"user": "minio-admin-9"}
    assert redactor.mask_json(["for minio-admin-9"]) == [f"for {MASK}"]


def test_the_original_is_for_comparison_and_for_the_server_alone():
    """It is in no print, copy or JSON; a secret place and a request get it whole."""
    redactor = Redactor([SECRET])
    spec = {
        "provider": "amazon_s3",
        "name": f"of {SECRET}",
        "configuration": {"bucket_name": SECRET, "secret_access_key": SECRET},
    }
    safe = wrap_secrets_and_withhold_masked(
        "storage", redactor.mask_json(spec), read_marks_of_storage_secrets()
    )
    assert safe["configuration"]["secret_access_key"] == Sensitive(SECRET)
    for shown in (str(safe), f"{safe['name']}", json.dumps(safe["name"]), repr(redactor)):
        assert SECRET[:8] not in shown
    assert reveal({"name": safe["name"]}, Sensitive) == {"name": f"of {SECRET}"}
    assert type(safe["name"].__reduce__()[1][0]) is str


@pytest.mark.parametrize("found", [SECRET, 1234567890123])
def test_an_id_that_repeats_a_secret_is_no_id(found):
    """It is neither recorded nor asked for."""
    masked = Redactor([SECRET, "1234567890123"]).mask_json({"id": found})
    assert isinstance(masked["id"], MaskedText)
    with pytest.raises(RemoteError, match="repeats a secret"):
        require_remote_id_of_answer(masked)
