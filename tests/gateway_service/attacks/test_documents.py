"""Requests that schemathesis makes up from the gateway's own two documents: what is said there is what happens.

The same few requests in every run; `KAIZEN_PROPERTY_EXAMPLES` asks for so many new ones of each operation.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from contract.admin_api import PREFIX
from tests.harness.gateway import agent_release, error_of
from tests.harness.properties import EXAMPLES

if TYPE_CHECKING:
    from schemathesis import Case

    from contract.caller_keys import KeyText
    from tests.harness.gateway import GatewayProcess, Studio

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
    ignored_auth,
]
_asked = os.environ.get(EXAMPLES, "")
bounded = settings(
    max_examples=int(_asked or 15), derandomize=not _asked, database=None, deadline=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


def explore(document: Any, token: str) -> int:
    """Send what fits each operation and what does not; returns how many operations there are."""
    headers = {"Authorization": f"Bearer {token}"}
    operations = [result.ok() for result in document.get_all_operations()]
    for operation in operations:
        for mode in GenerationMode:

            @bounded
            @given(case=operation.as_strategy(generation_mode=mode))
            def send(case: Case) -> None:
                case.call_and_validate(headers=headers, checks=CHECKS)

            # Of an operation without parameters, there are no wrong requests.
            with contextlib.suppress(Unsatisfiable):
                send()
    return len(operations)


def test_callers(gateway: GatewayProcess, studio: Studio, name: str, key: KeyText) -> None:
    studio.place(name, agent_release())
    document = schemathesis.openapi.from_url(f"{gateway.address}/openapi.json")
    assert explore(document, key.text) >= 9


def test_studio(gateway: GatewayProcess) -> None:
    document = schemathesis.openapi.from_url(f"{gateway.address}{PREFIX}/openapi.json")
    # Draining would end the gateway for all other tests.
    assert explore(document.exclude(path=f"{PREFIX}/drain"), gateway.token) >= 13


@pytest.mark.parametrize("path", ["/openapi.json", f"{PREFIX}/openapi.json"])
def test_other_methods_are_refused_and_the_possible_ones_named(
    gateway: GatewayProcess, key: KeyText, path: str
) -> None:
    with gateway.caller(key) as client:
        for each, operations in client.get(path).json()["paths"].items():
            offered = {method.upper() for method in operations}
            for method in {"GET", "POST", "PUT", "DELETE", "PATCH", "TRACE", "OPTIONS"} - offered:
                answer = client.request(method, each.replace("{name}", "some-test"))
                assert (answer.status_code, error_of(answer)["code"]) == (405, "method_not_allowed")
                assert set(answer.headers["Allow"].split(", ")) - {"HEAD"} == offered
