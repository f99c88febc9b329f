"""Secrets: encrypted at rest with rotating keys, or kept only as a hash."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from functools import cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings

from apps.core.errors import Conflict


@cache
def _fernet() -> MultiFernet:
    return MultiFernet([Fernet(key) for key in settings.KAIZEN_ENCRYPTION_KEYS])


def encrypt(clear: str | bytes) -> str:
    """Encrypt with the first of `KAIZEN_ENCRYPTION_KEYS`."""
    return _fernet().encrypt(clear.encode() if isinstance(clear, str) else clear).decode()


def decrypt(stored: str) -> bytes:
    """Decrypt with whichever key fits.

    Raises:
        Conflict: none does, so the key that encrypted it is missing from the environment.
    """
    try:
        return _fernet().decrypt(stored)
    except InvalidToken:
        raise Conflict("A stored secret cannot be read: its key is not among KAIZEN_ENCRYPTION_KEYS.") from None


def rotate(stored: str) -> str:
    """Re-encrypt with the first key."""
    return _fernet().rotate(stored).decode()


def new_secret() -> str:
    """256 random bits, URL-safe."""
    return secrets.token_urlsafe(32)


def hash_secret(secret: str) -> str:
    """The form in which a random 256-bit secret is stored; a slow hash would only protect a guessable one."""
    return hashlib.sha256(secret.encode()).hexdigest()


def matches(secret: str, stored_hash: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(hash_secret(secret), stored_hash)
