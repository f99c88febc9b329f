"""The kinds of things Studio places on gateways. To add one: its payload model, and one line in `KINDS`."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from contract.caller_keys import CallerKey
from contract.canonical import digest_of
from contract.names import check_key_id, check_registration_name, check_stop_id, check_workflow_name
from contract.release import Release
from contract.routes import Route
from contract.stops import Stop

if TYPE_CHECKING:
    from collections.abc import Callable

    from contract.document import Document

TOMBSTONE_DIGEST = digest_of(None)
"""The digest of a deleted thing: its payload is null, and its generation goes on counting."""


@dataclass(frozen=True)
class Kind:
    """One kind of thing.

    Attributes:
        name: in envelopes, receipts and state items.
        segment: in the admin API's paths, ``/admin/v1/{segment}/{name}``.
        payload_field: the member of a PUT's body that holds the payload.
        payload: the model of the payload.
        check_name: returns a name of this kind or raises `ContractError`.
        attested: whether a gateway's state items carry the payload and the receipt, so that Studio can show people a
            receipt whose answer got lost, and can adopt what it does not know.
    """

    name: str
    segment: str
    payload_field: str
    payload: type[Document]
    check_name: Callable[[str], str]
    attested: bool = False


WORKFLOW = Kind("workflow", "workflows", "release", Release, check_workflow_name)
ROUTE = Kind("route", "routes", "route", Route, check_registration_name)
API_KEY = Kind("api-key", "keys", "key", CallerKey, check_key_id)
STOP = Kind("stop", "stops", "stop", Stop, check_stop_id, attested=True)

KINDS: MappingProxyType[str, Kind] = MappingProxyType({kind.name: kind for kind in (WORKFLOW, ROUTE, API_KEY, STOP)})
"""Kinds by name."""

KINDS_BY_SEGMENT: MappingProxyType[str, Kind] = MappingProxyType({kind.segment: kind for kind in KINDS.values()})
"""Kinds by their segment in the admin API's paths."""
