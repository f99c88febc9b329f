"""Who this gateway is: its id and the key of its receipts, in a file of their own.

The identity outlives the store: a gateway whose store was wiped is the same gateway with nothing on it, which Studio
sees as drift and fills again. A gateway whose identity is lost is another gateway.
"""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from contract.envelope import (
    Receipt,
    generate_private_key,
    private_key_from_text,
    private_key_to_text,
    public_key_to_text,
)
from contract.errors import ContractError
from gateway_service.files import exclusive, sync_folder

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from gateway_service.store.placements import Placement

FILE_NAME = "identity.json"


class IdentityError(Exception):
    """The identity file cannot be used. It is never replaced silently: Studio has pinned its key."""


@dataclass(frozen=True)
class Identity:
    """The gateway's id (a UUID) and the private key that signs its receipts."""

    gateway_id: str
    receipt_key: Ed25519PrivateKey = field(repr=False)

    @property
    def public_key(self) -> str:
        """What verifies this gateway's receipts, as base64url."""
        return public_key_to_text(self.receipt_key.public_key())

    def attest(self, placement: Placement) -> str:
        """The receipt for a placement: that this gateway holds it since its `applied_at`."""
        return Receipt(
            self.gateway_id,
            placement.kind,
            placement.name,
            placement.generation,
            placement.digest,
            placement.applied_at,
        ).sign(self.receipt_key)


def load_identity(data_dir: Path) -> Identity:
    """Read the gateway's identity, or create it on the first start.

    Raises:
        IdentityError: there is a file, but it holds no identity.
        OSError: the folder cannot be written.
    """
    path = data_dir / FILE_NAME
    with exclusive(data_dir / ".lock"):
        if not path.exists():
            _write(path, Identity(str(uuid.uuid4()), generate_private_key()))
        return _read(path)


def _read(path: Path) -> Identity:
    try:
        members = json.loads(path.read_text(encoding="utf-8"))
        return Identity(str(uuid.UUID(members["gateway_id"])), private_key_from_text(members["receipt_key"]))
    except (ValueError, KeyError, TypeError, AttributeError, ContractError):
        raise IdentityError(
            f"{path} holds no identity. Restore it from a backup; or remove it, and register the gateway "
            "anew in Studio."
        ) from None


def _write(path: Path, identity: Identity) -> None:
    members = {"gateway_id": identity.gateway_id, "receipt_key": private_key_to_text(identity.receipt_key)}
    temporary = path.with_suffix(".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(members, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)
