"""The organization's signing key: made once, kept encrypted, used for every push."""

from __future__ import annotations

from typing import TYPE_CHECKING

from apps.core.errors import Conflict
from apps.core.secrets import decrypt, encrypt
from apps.gateways.models import SigningKey
from contract.envelope import (
    generate_private_key,
    private_key_from_text,
    private_key_to_text,
    public_key_to_text,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def new_signing_key() -> SigningKey:
    """Make and store a key pair. The caller sees to it that there is no other active one."""
    private = generate_private_key()
    return SigningKey.objects.create(
        public_key=public_key_to_text(private.public_key()), private_key=encrypt(private_key_to_text(private))
    )


def active_key() -> SigningKey:
    """The key that signs now.

    Raises:
        Conflict: the organization has none, so it was not founded to the end.
    """
    key = SigningKey.objects.filter(active=True).first()
    if key is None:
        raise Conflict("This organization has no signing key yet; its founding has not finished.")
    return key


def public_key() -> str:
    """What a gateway of this organization is installed with as GATEWAY_TRUSTED_KEY."""
    return active_key().public_key


def private_key() -> Ed25519PrivateKey:
    """The private half, for the moment of signing.

    Raises:
        Conflict: there is none, or the key that encrypted it is missing.
    """
    return private_key_from_text(decrypt(active_key().private_key).decode())
