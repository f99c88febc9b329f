"""The kinds `workflow` and `route`: releases on gateways, and how callers are split between one and its canary."""

from __future__ import annotations

from apps.gateways.kinds import Kind
from contract import kinds as contract_kinds


class Workflow(Kind):
    """A release under a registration's name, or under that of its canary."""

    contract = contract_kinds.WORKFLOW


class Route(Kind):
    """The part of a registration's callers that goes to its canary."""

    contract = contract_kinds.ROUTE


WORKFLOW, ROUTE = Workflow(), Route()
