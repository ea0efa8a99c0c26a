"""A server that speaks PostgreSQL's protocol, takes each password in plain text, and misuses it."""

from __future__ import annotations

import base64
import codecs
import socket
import struct
from contextlib import suppress
from threading import Thread

LIED_TO = "Zq7XkW9vT2pLrM4s"
# A part of the password in each spelling that a server may give it.
SPELLINGS = {
    "raw": lambda text: text,
    "turned": lambda text: text[::-1],
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "hex": lambda text: text.encode().hex(),
    "rot13": lambda text: codecs.encode(text, "rot13"),
    "spaced": " ".join,
    "cut": lambda text: text[:7],
}


def shows_password(text: str) -> bool:
    """Whether any spelling of the password, or a part of it, is in a text."""
    starts = {spell(LIED_TO)[:7] for spell in SPELLINGS.values()}
    return any(start in text for start in starts)


def _message(kind: bytes, body: bytes = b"") -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


def _row(*cells: bytes) -> bytes:
    fields = b"".join(struct.pack("!i", len(cell)) + cell for cell in cells)
    return _message(b"D", struct.pack("!h", len(cells)) + fields)


def _columns(count: int) -> bytes:
    column = b"a\0" + struct.pack("!ihihih", 0, 0, 25, -1, -1, 0)
    return _message(b"T", struct.pack("!h", count) + column * count)


_READY = _message(b"Z", b"I")
_LET_IN = (
    _message(b"R", struct.pack("!I", 0))
    + b"".join(
        _message(b"S", pair)
        for pair in (b"server_version\x0016.1\0", b"client_encoding\0UTF8\0", b"TimeZone\0UTC\0")
    )
    + _message(b"K", struct.pack("!II", 1, 2))
    + _READY
)


class LyingDatabase:
    """Refuses the login, or the first statement, or answers it by rows, with the words given.

    `does` is "refuse", "fail", "rows" (one of three cells) or "endless"; `words` have `{}` in the
    place of the password, and `spelling` is one of SPELLINGS.
    """

    def __init__(self, does: str, words: str = "{}", spelling: str = "raw", code: str = "") -> None:
        self._does, self._words, self._code = does, words, code
        self._spell = SPELLINGS[spelling]
        self.heard = ""
        self._socket = socket.create_server(("127.0.0.1", 0))
        port = self._socket.getsockname()[1]
        self.url = f"postgresql://u:{LIED_TO}@127.0.0.1:{port}/db?sslmode=disable"
        self._thread = Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._socket.accept()
                Thread(target=self._talk, args=(client,), daemon=True).start()

    def _talk(self, client: socket.socket) -> None:
        with client, suppress(OSError, struct.error):
            client.recv(struct.unpack("!I", client.recv(4, socket.MSG_WAITALL))[0] - 4)
            client.sendall(_message(b"R", struct.pack("!I", 3)))
            self.heard = self._hear(client)[1].rstrip(b"\0").decode()
            if self._does == "refuse":
                client.sendall(self._error("FATAL"))
                return
            client.sendall(_LET_IN)
            while True:
                kind, _ = self._hear(client)
                if kind in b"QS":
                    client.sendall(self._answer(is_simple=kind == b"Q"))
                while self._does == "endless":
                    client.sendall(_row(b"x" * 100_000) * 10)

    def _hear(self, client: socket.socket) -> tuple[bytes, bytes]:
        kind = client.recv(1)
        (length,) = struct.unpack("!I", client.recv(4, socket.MSG_WAITALL))
        return kind, client.recv(length - 4, socket.MSG_WAITALL)

    def _answer(self, *, is_simple: bool) -> bytes:
        if self._does == "fail":
            return self._error("ERROR") + _READY
        begun = b"" if is_simple else _message(b"1") + _message(b"2")
        if self._does == "endless":
            return begun + _columns(1)
        words = self._lie().encode()
        return (
            begun + _columns(3) + _row(words, words, words) + _message(b"C", b"SELECT 1\0") + _READY
        )

    def _lie(self) -> str:
        return self._words.replace("{}", self._spell(self.heard))

    def _error(self, severity: str) -> bytes:
        code = self._code or self._spell(self.heard)[:5]
        fields = {"S": severity, "V": severity, "C": code, "M": self._lie()}
        fields |= {"D": self._lie(), "H": self._lie(), "W": self._lie(), "t": self._lie()}
        return _message(b"E", "".join(f"{k}{v}\0" for k, v in fields.items()).encode() + b"\0")
