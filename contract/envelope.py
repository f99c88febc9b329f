"""Signatures between the planes: Studio signs envelopes, a gateway signs receipts. Ed25519 over canonical JSON.

An envelope binds *where* (the gateway), *what* (kind, name, digest) and *when* (generation), so that a signature can be
replayed neither on another gateway nor under another name. Each signed type has a domain of its own: a receipt can
never pass for an envelope. Keys and signatures travel as unpadded base64url.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import asdict, dataclass
from typing import ClassVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from contract.canonical import canonical_json
from contract.errors import ContractError

KEY_BYTES = 32
SIGNATURE_BYTES = 64


@dataclass(frozen=True)
class _Signed:
    """A statement that can be signed: its fields, under its own domain."""

    domain: ClassVar[str]

    def message(self) -> bytes:
        """The exact bytes that are signed."""
        return self.domain.encode() + b"\n" + canonical_json(asdict(self))

    def sign(self, private_key: Ed25519PrivateKey) -> str:
        """The signature over this statement, as base64url."""
        return _to_text(private_key.sign(self.message()))

    def verify(self, public_key: Ed25519PublicKey, signature: str) -> bool:
        """Whether `signature` is this statement's, by the owner of `public_key`. Malformed signatures are not."""
        try:
            public_key.verify(_from_text(signature, SIGNATURE_BYTES, "signature"), self.message())
        except (InvalidSignature, ContractError):
            return False
        return True


@dataclass(frozen=True)
class Envelope(_Signed):
    """Studio's wish that `gateway` holds the payload with `digest` as (`kind`, `name`) from `generation` on."""

    domain: ClassVar[str] = "kaizen.envelope/1"

    gateway: str
    kind: str
    name: str
    generation: int
    digest: str


@dataclass(frozen=True)
class Receipt(_Signed):
    """A gateway's statement that it holds this since `at` (RFC 3339, UTC)."""

    domain: ClassVar[str] = "kaizen.receipt/1"

    gateway: str
    kind: str
    name: str
    generation: int
    digest: str
    at: str


def generate_private_key() -> Ed25519PrivateKey:
    """A new signing key, for an organization (envelopes) or a gateway (receipts)."""
    return Ed25519PrivateKey.generate()


def private_key_to_text(key: Ed25519PrivateKey) -> str:
    """The key's 32 secret bytes as base64url. Store it encrypted, or with mode 0600."""
    return _to_text(key.private_bytes_raw())


def private_key_from_text(text: str) -> Ed25519PrivateKey:
    """The inverse of `private_key_to_text`.

    Raises:
        ContractError: the text is no such key. The message does not repeat it.
    """
    return Ed25519PrivateKey.from_private_bytes(_from_text(text, KEY_BYTES, "private key"))


def public_key_to_text(key: Ed25519PublicKey) -> str:
    """The key's 32 bytes as base64url."""
    return _to_text(key.public_bytes_raw())


def public_key_from_text(text: str) -> Ed25519PublicKey:
    """The inverse of `public_key_to_text`.

    Raises:
        ContractError: the text is no such key.
    """
    return Ed25519PublicKey.from_public_bytes(_from_text(text, KEY_BYTES, "public key"))


def _to_text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode("ascii")


def _from_text(text: str, length: int, what: str) -> bytes:
    problem = ContractError(f"the {what} must be {length} bytes in base64url")
    if any(character in text for character in "+/= \r\n"):
        # b64decode would skip foreign characters in silence; one signature must have one spelling.
        raise problem
    try:
        content = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise problem from None
    if len(content) != length or _to_text(content) != text:
        raise problem
    return content
