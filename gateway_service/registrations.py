"""What a release becomes on this gateway: something that can be called by its name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from contract.names import registration_of
from contract.nodes import KAIZEN_AGENT
from contract.plain_schemas import plainly_fits
from contract.schemas import compile_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from jsonschema.protocols import Validator

    from contract.release import Release
    from gateway_service.execution.executor import Plan


@dataclass(eq=False)
class Registration:
    """A release under a name, with everything prepared that each call needs.

    Executions hold the registration they began with, so that a replacement disturbs none of them.

    Attributes:
        name: what callers call. A canary has the name of the registration whose canary it is: in answers, logs and
            memories there is only that one, and the release's digest tells which of the two it was.
        canary: whether it lies here as a canary.
        input_schema: the interface's inputs, closed: fields it does not name are refused.
        input_fits, output_fits: a quick yes, see `plainly_fits`; after anything else, the validators decide.
        streaming_node: the node whose text is the first output, if that is so: its tokens can be streamed.
        digest: the release's.
        bindings: by node, its inputs' names and those of the caller's inputs that flow into them.
        plan: how it is executed; made at the first execution.
        retired: whether another generation took the name.
    """

    name: str
    registration_id: str
    release: Release
    canary: bool = False
    input_schema: dict[str, Any] = field(init=False)
    input_fits: Callable[[Any], bool] = field(init=False)
    input_validator: Validator = field(init=False)
    output_fits: Callable[[Any], bool] = field(init=False)
    output_validator: Validator | None = field(init=False)
    streaming_node: str | None = field(init=False)
    digest: str = field(init=False)
    bindings: Mapping[str, tuple[tuple[str, str], ...]] = field(init=False)
    plan: Plan | None = None
    retired: bool = False

    def __post_init__(self) -> None:
        interface = self.release.interface
        self.input_schema = {"additionalProperties": False, **interface.inputs}
        self.input_validator = compile_schema(self.input_schema)
        schema = interface.output_schema
        self.output_validator = None if schema is None else compile_schema(schema)
        self.input_fits, self.output_fits = plainly_fits(self.input_schema), plainly_fits(schema or {})
        self.digest = self.release.digest
        self.bindings = {
            node.id: tuple((each.parameter, each.input) for each in interface.bindings if each.node == node.id)
            for node in self.release.workflow.nodes
        }
        first = interface.outputs[0]
        self.streaming_node = first.node if first.output == "text" else None

    @classmethod
    def placed(cls, placed_name: str, registration_id: str, release: Release) -> Registration:
        """The registration of a release that was placed as `placed_name`: a registration's name or its canary's."""
        name = registration_of(placed_name)
        return cls(name, registration_id, release, canary=name != placed_name)

    @property
    def memory_nodes(self) -> list[str]:
        """The nodes that remember a session."""
        nodes = self.release.workflow.nodes
        return [node.id for node in nodes if node.type == KAIZEN_AGENT and node.parameters.get("memory")]

    @property
    def answer_schema(self) -> dict[str, Any] | None:
        """The form that the node whose text is the first output answers in; None if that is plain text."""
        nodes = self.release.workflow.nodes
        answering = next((node for node in nodes if node.id == self.streaming_node), None)
        return None if answering is None else answering.parameters.get("answer_schema")

    @property
    def takes_client_tools(self) -> bool:
        """Whether callers may bring tools of their own: an agent that stands alone, and whose author allows it.

        In a graph a call would end the execution in its middle, with the other nodes done for nothing.
        """
        nodes = self.release.workflow.nodes
        return len(nodes) == 1 and nodes[0].id == self.streaming_node and bool(nodes[0].parameters.get("client_tools"))

    def bound_values(self, node: str, inputs: dict[str, Any]) -> dict[str, Any]:
        """The caller's values for one node: its declared bindings, and nothing else."""
        return {parameter: inputs.get(name) for parameter, name in self.bindings[node]}

    def describe(self) -> dict[str, Any]:
        """What callers may know of it: the interface, but no instructions and no profile."""
        release = self.release
        description = {
            "name": self.name,
            "title": release.metadata.title or release.subject.slug,
            "description": release.metadata.description,
            "kind": release.subject.kind,
            "version": release.subject.version,
            "release": release.digest,
            "inputs": self.input_schema,
            "outputs": [output.name for output in release.interface.outputs],
            "streams": self.streaming_node is not None,
            "remembers": bool(self.memory_nodes),
        }
        if release.interface.output_schema is not None:
            description["output_schema"] = release.interface.output_schema
        return description


@dataclass(frozen=True)
class Registrations:
    """Everything callable, by name, sorted.

    Attributes:
        releases: what callers see and name.
        canaries: what a part of a name's callers may be sent to; no caller can name one.
    """

    releases: Mapping[str, Registration]
    canaries: Mapping[str, Registration]

    @classmethod
    def of(cls, registrations: Iterable[Registration]) -> Registrations:
        """Sort out which is which."""
        by_name = sorted(registrations, key=lambda registration: registration.name)
        return cls(
            {registration.name: registration for registration in by_name if not registration.canary},
            {registration.name: registration for registration in by_name if registration.canary},
        )
