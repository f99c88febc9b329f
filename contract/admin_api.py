"""Requests and answers of the admin API, ``/admin/v1``. Studio's client and the gateway's server both speak these."""

from __future__ import annotations

from collections.abc import Sequence  # noqa: TC003 (pydantic reads it)
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from contract.canonical import DIGEST_PATTERN, MAX_SAFE_INTEGER, digest_of, strict_loads
from contract.document import Document, Part, contract_error
from contract.envelope import Envelope
from contract.errors import ContractError
from contract.kinds import TOMBSTONE_DIGEST, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PREFIX = "/admin/v1"
SIGNATURE_HEADER = "Kaizen-Signature"
EXECUTION_PAGE_LIMIT = 1_000

Generation = Annotated[int, Field(ge=1, le=MAX_SAFE_INTEGER)]
DigestText = Annotated[str, Field(pattern=DIGEST_PATTERN)]
# What a gateway says goes into Studio's rows, together with what others say at that moment: one that says what no row
# can hold must fail alone, at the edge.
Count = Annotated[int, Field(ge=0, le=2**31 - 1)]
Position = Annotated[int, Field(ge=0, le=MAX_SAFE_INTEGER)]
Seconds = Annotated[float, Field(ge=0, le=1e9)]
_LINE_PATTERN = r"^[^\x00-\x1f]*$"
Line = Annotated[str, Field(max_length=100, pattern=_LINE_PATTERN)]
Identifier = Annotated[str, Field(min_length=1, max_length=100, pattern=_LINE_PATTERN)]
KeyMaterial = Annotated[str, Field(min_length=1, max_length=60, pattern=_LINE_PATTERN)]
KindText = Annotated[str, Field(min_length=1, max_length=20, pattern=_LINE_PATTERN)]
NameText = Annotated[str, Field(min_length=1, max_length=80, pattern=_LINE_PATTERN)]
Moment = Annotated[str, Field(max_length=40, pattern=_LINE_PATTERN)]
Milliseconds = Annotated[float, Field(ge=0, le=1e12)]
LogText = Annotated[str, Field(min_length=1, max_length=64, pattern=_LINE_PATTERN)]
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
CodeText = Annotated[str, Field(max_length=40, pattern=_LINE_PATTERN)]
# Callers choose sessions' names, so that these may hold more than one line; no row holds a NUL.
SessionText = Annotated[str, Field(max_length=200, pattern=r"^[^\x00]*$")]


class Answer(BaseModel):
    """An answer of a gateway. Unknown members are ignored: a newer gateway may say more than this Studio knows."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class PutRequest(Part):
    """The body of a PUT. On the wire the payload's member is named by its kind (`release`, `key`)."""

    generation: Generation
    digest: DigestText
    signature: Annotated[str, Field(max_length=100)]
    payload: dict[str, Any]

    @classmethod
    def signed(
        cls, kind: Kind, name: str, payload: Document, *, gateway: str, generation: int, key: Ed25519PrivateKey
    ) -> Self:
        """The request that places `payload` on `gateway` (its id), signed with the organization's key."""
        envelope = Envelope(gateway, kind.name, name, generation, payload.digest)
        return cls(
            generation=generation, digest=payload.digest, signature=envelope.sign(key), payload=payload.to_json()
        )

    @classmethod
    def parse(cls, kind: Kind, body: bytes) -> Self:
        """Read a PUT's body.

        Raises:
            ContractError: it is not of this form.
        """
        members = strict_loads(body)
        if not isinstance(members, dict):
            raise ContractError("the body must be a JSON object")
        if "payload" in members or kind.payload_field not in members:
            raise ContractError(f"the body must have the member {kind.payload_field!r}")
        members["payload"] = members.pop(kind.payload_field)
        try:
            return cls.model_validate(members, strict=True)
        except ValidationError as error:
            raise contract_error(error) from None

    def body(self, kind: Kind) -> dict[str, Any]:
        """The request as JSON values, as it goes over the wire."""
        members = self.model_dump(mode="json", exclude={"payload"})
        return {**members, kind.payload_field: self.payload}


def tombstone_signature(kind: Kind, name: str, *, gateway: str, generation: int, key: Ed25519PrivateKey) -> str:
    """What the header `Kaizen-Signature` of a DELETE holds."""
    return Envelope(gateway, kind.name, name, generation, TOMBSTONE_DIGEST).sign(key)


class Outcome(StrEnum):
    """What a PUT or a DELETE did."""

    APPLIED = "applied"
    SAME = "same"
    STALE = "stale"


class Acknowledgement(Answer):
    """What the gateway holds after a PUT or a DELETE.

    With the outcome `stale`, generation, digest and receipt are those of the newer thing that stays.

    Attributes:
        registration_id: new with each applied generation; tells two registrations of one name apart.
        applied_at: when the gateway began to hold this.
        receipt: the gateway's signature over `contract.envelope.Receipt`, with `applied_at` as its `at`.
    """

    registration_id: Line
    kind: KindText
    name: NameText
    generation: Generation
    digest: DigestText
    outcome: Outcome
    applied_at: Moment
    receipt: Line


class Item(Answer):
    """One thing a gateway holds.

    Attributes:
        applied_at, receipt: as in `Acknowledgement`, and
        payload: what it holds; all three only for kinds that are `attested`.
    """

    kind: KindText
    name: NameText
    generation: Generation
    digest: DigestText
    tombstone: bool
    applied_at: Moment | None = None
    receipt: Line | None = None
    payload: dict[str, Any] | None = None


class Capacity(Answer):
    """How many executions may run at once, and how many do."""

    max_concurrent: Count
    in_flight: Count


class GatewayState(Answer):
    """What a gateway says of itself.

    Attributes:
        public_key: verifies its receipts.
        boot_id: new with each start of the process.
        revision: counts the changes of its store; never falls while the store lives.
        state_digest: `state_digest` of all items, tombstones included.
        registrations: workflows that answer callers.
        execution_epoch: see `ExecutionPage`.
        execution_seq: position of the newest record of the execution log, so that a reader who has it need not ask;
            None from a gateway that does not say.
        items: only where asked for.
    """

    gateway_id: Identifier
    public_key: KeyMaterial
    boot_id: Identifier
    version: Line
    revision: Position
    state_digest: DigestText
    capacity: Capacity
    registrations: Count
    uptime_s: Seconds
    draining: bool = False
    execution_epoch: Line = ""
    execution_seq: Position | None = None
    items: list[Item] | None = None


def state_digest(items: Iterable[Item]) -> str:
    """One digest over everything a gateway holds; equal digests mean equal contents."""
    return digest_of(sorted([item.kind, item.name, item.generation, item.digest] for item in items))


class DrainState(Answer):
    """The answer to a drain: whether executions are still running."""

    draining: bool
    in_flight: Count


class ExecutionStatus(StrEnum):
    """How an execution ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"


class Channel(StrEnum):
    """How a caller came in."""

    API = "api"
    STREAM = "stream"
    OPENAI = "openai"
    MCP = "mcp"
    CLI = "cli"


class NodeRecord(Answer):
    """What one node of an execution did. A node that never began has none.

    Attributes:
        node: its id in the release.
        status: `cancelled` also for a node that still ran when another one's failure ended the execution.
        duration_ms: from its beginning to its end, or to that of the execution.
        input_tokens, output_tokens: what it spent, also when it failed afterwards.
        costs: what these tokens cost at the gateway's prices, in millionths of a unit, by currency (ISO 4217); without
            those of model profiles that have no price.
    """

    node: LogText
    status: ExecutionStatus
    duration_ms: Milliseconds
    input_tokens: Count = 0
    output_tokens: Count = 0
    error_code: CodeText | None = None
    costs: dict[Currency, Position] = {}


class ExecutionRecord(Answer):
    """One finished execution. Holds no prompt and no answer.

    Attributes:
        seq: position in the log, counted from 1 within its epoch.
        input_tokens, output_tokens: as the model's provider reported them; 0 if it did not.
        nodes: in the order of the plan; empty from a gateway that does not say.
    """

    seq: Position
    execution_id: LogText
    registration: NameText
    release_digest: DigestText
    key_id: LogText
    channel: Channel
    started_at: AwareDatetime
    duration_ms: Milliseconds
    status: ExecutionStatus
    error_code: CodeText | None = None
    input_tokens: Count = 0
    output_tokens: Count = 0
    session_id: SessionText | None = None
    nodes: list[NodeRecord] = []


class UnreadableRecord(Answer):
    """What a reader makes of a record that is none of this contract: its position, so that those behind it are read."""

    seq: Position


class ExecutionPage(Answer):
    """A page of the execution log.

    Attributes:
        epoch: changes when the log was lost; a reader then starts again with ``after=0``.
        next_after: the `after` of the next page.
        first_seq: the oldest record that is still there; more than `after` + 1 means that records were pruned.
        items: a gateway writes `ExecutionRecord`s only.
    """

    epoch: LogText
    next_after: Position
    first_seq: Position = 1
    items: Sequence[Annotated[ExecutionRecord | UnreadableRecord, Field(union_mode="left_to_right")]]
