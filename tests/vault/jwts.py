"""JWTs as a forge gives them to its jobs: signed with RS256 by a key that is made for tests alone."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from functools import cache

ISSUER, AUDIENCE, SUBJECT = "https://forge.example", "https://vault.example", "repo:acme/models"
MODULUS = int(
    "ed350d1672fcd9b48d65f5b67d18324feec41020740c1d3efcb58117380d364a891c6796d0443413"
    "1752048a63f135ce480a2303053565c502d38bc725f11e2995e146042b9a38d18b86cba6a377a48f"
    "ba897f2a836bf6fc7fac3be702f5da6d3097fa0af4d51f8db3aeab5b0a979e9ddd7f56020027ef16"
    "c5798c4e405e306f72ab0fcb368bd4bbd30b576cbf10a874c029424f046670d3455eb7aa27df7a48"
    "664e39c241637f3cd1562f13a7f6f9e2c552e7ca2a764f718e825443960acd6944428359d006b962"
    "674ea626f0a174636052cc0986557515a36805aea5e37c0be7c69001d02b3762033d843aabf306e9"
    "2014a46d572b91aa4b04598e96a36ccb",
    16,
)
EXPONENT = int(
    "1f784655901e7e3e374980f670ff8b77e75418ff9fe5c0e0e10e037907caae453d38de2ab7febf19"
    "e3f77c500fea546fc59c4800d7e96453103398a66c76376b8a4d94c86b85ce669e7d87a482a8c0d5"
    "ab5dca828d64fece339caf65cfe810ce78fff0ab10c8504e05b9f5548d6c881d518c2f3b9cb704ea"
    "9f25a7b8f4a3dfb0e813a554b97e4046ef24221a7644bb26e2612aea609457cfcad2a4df74652e08"
    "953a2e583a6a4dcbfc81f6929d7866944e5d4f9691e7f889814a1f9cdbfa36b52eba8a6064e302ec"
    "0dc2a212c35229f6587f43a2068ef816992d08ae0031d6ec4380b49e434f9f864056b6ff33c4a28e"
    "451a71748b0da253320f3bc2b8213d41",
    16,
)
PUBLIC_KEY = """\
-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA7TUNFnL82bSNZfW2fRgy
T+7EECB0DB0+/LWBFzgNNkqJHGeW0EQ0ExdSBIpj8TXOSAojAwU1ZcUC04vHJfEe
KZXhRgQrmjjRi4bLpqN3pI+6iX8qg2v2/H+sO+cC9dptMJf6CvTVH42zrqtbCpee
nd1/VgIAJ+8WxXmMTkBeMG9yqw/LNovUu9MLV2y/EKh0wClCTwRmcNNFXreqJ996
SGZOOcJBY3880VYvE6f2+eLFUufKKnZPcY6CVEOWCs1pREKDWdAGuWJnTqYm8KF0
Y2BSzAmGVXUVo2gFrqXjfAvnxpAB0Cs3YgM9hDqr8wbpIBSkbVcrkapLBFmOlqNs
ywIDAQAB
-----END PUBLIC KEY-----
"""
# What PKCS #1 v1.5 puts before a SHA-256 digest (RFC 8017, 9.2).
_DIGEST_INFO = bytes.fromhex("3031300d060960864801650304020105000420")


def sign(**changes) -> str:
    """A JWT of a job that runs now; `changes` are claims that are to be others."""
    # Of its minute: to sign takes 20 ms, and is then done once for most tests.
    now = int(time.time()) // 60 * 60
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": SUBJECT,
        "iat": now - 5,
        "nbf": now - 5,
        "exp": now + 360,
        **changes,
    }
    return _sign_text(f"{_encode({'alg': 'RS256', 'typ': 'JWT'})}.{_encode(claims)}")


@cache
def _sign_text(text: str) -> str:
    size = (MODULUS.bit_length() + 7) // 8
    tail = _DIGEST_INFO + hashlib.sha256(text.encode()).digest()
    padded = b"\0\1" + b"\xff" * (size - len(tail) - 3) + b"\0" + tail
    signature = pow(int.from_bytes(padded), EXPONENT, MODULUS).to_bytes(size)
    return f"{text}.{_base64(signature)}"


def read_claims(jwt: str) -> dict | None:
    """The claims of a JWT that this key signed; None for any other text."""
    try:
        head, body, signature = jwt.split(".")
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except ValueError:
        return None
    size = (MODULUS.bit_length() + 7) // 8
    number = int.from_bytes(base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4)))
    digest = hashlib.sha256(f"{head}.{body}".encode()).digest()
    return claims if pow(number, 65537, MODULUS).to_bytes(size).endswith(digest) else None


def _encode(value: dict) -> str:
    return _base64(json.dumps(value).encode())


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
