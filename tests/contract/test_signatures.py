"""Envelopes and receipts: bound to every field and to their domain; keys survive the trip through text."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from contract.envelope import (
    Envelope,
    Receipt,
    generate_private_key,
    private_key_from_text,
    private_key_to_text,
    public_key_from_text,
    public_key_to_text,
)
from contract.errors import ContractError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ENVELOPE = Envelope("gw-1", "workflow", "greeter-production", 4, "sha256:" + "a" * 64)


@pytest.fixture(scope="module")
def key() -> Ed25519PrivateKey:
    return generate_private_key()


@pytest.mark.parametrize(
    "other",
    [
        replace(ENVELOPE, gateway="gw-2"),
        replace(ENVELOPE, kind="api-key"),
        replace(ENVELOPE, name="greeter-staging"),
        replace(ENVELOPE, generation=5),
        replace(ENVELOPE, digest="sha256:" + "b" * 64),
    ],
)
def test_a_signature_holds_for_its_own_envelope_only(key: Ed25519PrivateKey, other: Envelope) -> None:
    signature = ENVELOPE.sign(key)
    assert ENVELOPE.verify(key.public_key(), signature)
    assert not other.verify(key.public_key(), signature)
    assert not ENVELOPE.verify(generate_private_key().public_key(), signature)


def test_a_receipt_never_passes_for_an_envelope(key: Ed25519PrivateKey) -> None:
    receipt = Receipt("gw-1", "workflow", "greeter-production", 4, "sha256:" + "a" * 64, "2026-01-01T00:00:00Z")
    assert receipt.verify(key.public_key(), receipt.sign(key))
    assert not ENVELOPE.verify(key.public_key(), receipt.sign(key))


@pytest.mark.parametrize("malformed", ["", "x", "====", "é" * 86, "A" * 85 + "+", "A" * 86, "A" * 2_000])
def test_a_malformed_signature_is_no_signature(key: Ed25519PrivateKey, malformed: str) -> None:
    assert not ENVELOPE.verify(key.public_key(), malformed)


def test_a_signature_has_one_spelling(key: Ed25519PrivateKey) -> None:
    signature = ENVELOPE.sign(key)
    assert not ENVELOPE.verify(key.public_key(), signature + "==")
    assert not ENVELOPE.verify(key.public_key(), signature + "\n")


def test_keys_survive_the_trip_through_text(key: Ed25519PrivateKey) -> None:
    again = private_key_from_text(private_key_to_text(key))
    public = public_key_from_text(public_key_to_text(key.public_key()))
    assert ENVELOPE.verify(public, ENVELOPE.sign(again))


@pytest.mark.parametrize("text", ["", "short", "A" * 44, "!" * 43])
def test_a_malformed_key_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(ContractError, match="32 bytes") as refusal:
        private_key_from_text(text)
    assert not text or text not in str(refusal.value)
    with pytest.raises(ContractError, match="32 bytes"):
        public_key_from_text(text)
