"""Who sends: an Ed25519 key per device, and a signature over everything that a request means.

A request is signed over the run it is meant for, the server's term, method, path, digest of its body, session and
number. What was captured can therefore not be sent again, elsewhere, later, or with another body. Source of the
scheme: RFC 8032; of the header that names the digest: RFC 9530.
"""

import re
from base64 import b64decode, b64encode
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from msgspec import Struct

from hocket.errors import Damaged
from hocket.files import replace

SCHEME = "Hocket"
_HEADER = re.compile(rf"{SCHEME} session=([0-9a-f]{{32}}), number=([0-9]{{1,15}}), signature=([0-9a-f]{{128}})")


class Key:
    """A device's private key."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()

    @classmethod
    def new(cls) -> Self:
        """A fresh one."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def at(cls, path: Path) -> Self:
        """The key in a file, which is made if there is none; nobody else may read it.

        Raises:
            Damaged: the file is no key.
        """
        if not path.exists():
            key = cls.new()
            pem = key._private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            replace(path, lambda p: write_secret(p, pem))
        try:
            private = load_pem_private_key(path.read_bytes(), None)
        except (ValueError, TypeError) as e:
            raise Damaged(f"{path}: {e}; remove it and enrol the device again") from None
        if not isinstance(private, Ed25519PrivateKey):
            raise Damaged(f"{path}: not an Ed25519 key; remove it and enrol the device again")
        return cls(private)

    def sign(self, text: bytes) -> str:
        """A signature, 128 hex digits."""
        return self._private.sign(text).hex()


def write_secret(path: Path, data: bytes) -> None:
    """Write a file that nobody else may read."""
    path.touch(0o600)
    path.write_bytes(data)


def verified(public: str, signature: str, text: bytes) -> bool:
    """Whether a key (hex) signed a text.

    >>> key = Key.new()
    >>> verified(key.public, key.sign(b"yes"), b"yes"), verified(key.public, key.sign(b"yes"), b"no")
    (True, False)
    """
    try:
        _public(public).verify(bytes.fromhex(signature), text)
    except (InvalidSignature, ValueError):
        return False
    return True


@lru_cache(1 << 14)  # a device sends many requests
def _public(key: str) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(bytes.fromhex(key))


class Claim(Struct, frozen=True):
    """What an ``Authorization`` header says: session, number of the request within it, signature."""

    session: str
    number: int
    signature: str

    def header(self) -> str:
        """As it is sent."""
        return f"{SCHEME} session={self.session}, number={self.number}, signature={self.signature}"

    @classmethod
    def read(cls, header: str) -> "Claim | None":
        """From what was sent; None if it is no such claim."""
        found = _HEADER.fullmatch(header)
        return None if found is None else cls(found[1], int(found[2]), found[3])


def request_text(run: str, term: int, method: str, path: str, digest: str, session: str, number: int) -> bytes:
    """What a request's signature covers; ``path`` with its query, ``digest`` as in ``Repr-Digest``."""
    return "\n".join(("hocket request 1", run, str(term), method, path, digest, session, str(number))).encode()


def session_text(run: str, term: int, challenge: str, previous: str) -> bytes:
    """What a session's opening signature covers."""
    return "\n".join(("hocket session 1", run, str(term), challenge, previous)).encode()


def enrol_text(run: str, token: str, key: str) -> bytes:
    """What an enrolment's signature covers."""
    return "\n".join(("hocket enrolment 1", run, token, key)).encode()


def digest_header(data: bytes) -> str:
    """The value of ``Repr-Digest`` for some bytes."""
    return f"sha-256=:{b64encode(sha256(data).digest()).decode()}:"


def digest_of(header: str) -> bytes | None:
    """The digest that a ``Repr-Digest`` names; None if it is not one."""
    if not (header.startswith("sha-256=:") and header.endswith(":") and len(header) == 54):
        return None
    try:
        return b64decode(header[9:-1], validate=True)
    except ValueError:
        return None
