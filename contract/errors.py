"""Error codes of both gateway surfaces, their HTTP statuses, and the one shape every error body has."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class ContractError(ValueError):
    """A document breaks the contract.

    Attributes:
        path: where in the document, as a dotted path such as ``workflow.nodes[0].type``; empty for the whole of it.
        reason: what is wrong, as a sentence fragment for the person who wrote the document.
    """

    def __init__(self, reason: str, path: str = "") -> None:
        super().__init__(reason, path)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}" if self.path else self.reason


class NodeForbidden(ContractError):
    """A release names a node type that gateways do not run."""


class ErrorCode(StrEnum):
    """Every code a gateway answers with. Codes are stable; messages are for people and may change."""

    INVALID_REQUEST = "invalid_request"
    INVALID_JSON = "invalid_json"
    UNAUTHENTICATED = "unauthenticated"
    BUDGET_SPENT = "budget_spent"
    UNPRICED = "unpriced"
    FORBIDDEN = "forbidden"
    STOPPED = "stopped"
    INVALID_SIGNATURE = "invalid_signature"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    REQUEST_TIMEOUT = "request_timeout"
    CONFLICT = "conflict"
    PAYLOAD_TOO_LARGE = "payload_too_large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    HEADERS_TOO_LARGE = "headers_too_large"
    INVALID_INPUT = "invalid_input"
    INVALID_RELEASE = "invalid_release"
    NODE_FORBIDDEN = "node_forbidden"
    DIGEST_MISMATCH = "digest_mismatch"
    MODE_UNSUPPORTED = "mode_unsupported"
    LIMIT_REACHED = "limit_reached"
    INTERNAL = "internal"
    MODEL_FAILED = "model_failed"
    NODE_FAILED = "node_failed"
    INVALID_OUTPUT = "invalid_output"
    OVERLOADED = "overloaded"
    DRAINING = "draining"
    NOT_READY = "not_ready"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"

    @property
    def status(self) -> int:
        """The HTTP status this code travels with."""
        return _STATUS[self]


_STATUS: dict[ErrorCode, int] = {
    ErrorCode.INVALID_REQUEST: 400,
    ErrorCode.INVALID_JSON: 400,
    ErrorCode.UNAUTHENTICATED: 401,
    ErrorCode.BUDGET_SPENT: 402,
    ErrorCode.UNPRICED: 402,
    ErrorCode.FORBIDDEN: 403,
    # A client that meets 403 does not try again by itself, which is what a stop is for.
    ErrorCode.STOPPED: 403,
    ErrorCode.INVALID_SIGNATURE: 403,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.METHOD_NOT_ALLOWED: 405,
    ErrorCode.REQUEST_TIMEOUT: 408,
    ErrorCode.CONFLICT: 409,
    ErrorCode.PAYLOAD_TOO_LARGE: 413,
    ErrorCode.UNSUPPORTED_MEDIA_TYPE: 415,
    ErrorCode.INVALID_INPUT: 422,
    ErrorCode.INVALID_RELEASE: 422,
    ErrorCode.NODE_FORBIDDEN: 422,
    ErrorCode.DIGEST_MISMATCH: 422,
    ErrorCode.MODE_UNSUPPORTED: 422,
    ErrorCode.HEADERS_TOO_LARGE: 431,
    ErrorCode.LIMIT_REACHED: 429,
    # nginx's "client closed request": it reaches the execution log and the metrics, never a client.
    ErrorCode.CANCELLED: 499,
    ErrorCode.INTERNAL: 500,
    ErrorCode.MODEL_FAILED: 502,
    ErrorCode.NODE_FAILED: 502,
    ErrorCode.INVALID_OUTPUT: 502,
    ErrorCode.OVERLOADED: 503,
    ErrorCode.DRAINING: 503,
    ErrorCode.NOT_READY: 503,
    # What ran in the background when its process ended; in a kept result only, never as an answer's own status.
    ErrorCode.INTERRUPTED: 503,
    ErrorCode.TIMED_OUT: 504,
}


class ErrorDetail(BaseModel):
    """What went wrong. Never holds a stack trace, a secret or a prompt."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: ErrorCode
    message: str
    execution_id: str | None = None
    path: str | None = None


class ErrorBody(BaseModel):
    """The body of every error answer: ``{"error": {"code", "message", "execution_id"?, "path"?}}``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    error: ErrorDetail

    def to_json(self) -> dict[str, object]:
        """The body as JSON values, without the members that say nothing."""
        return self.model_dump(mode="json", exclude_none=True)
