"""The one exception that becomes an answer. What is not one of these is a bug, and answered as `internal`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contract.errors import ErrorBody, ErrorCode, ErrorDetail

if TYPE_CHECKING:
    from collections.abc import Mapping


class GatewayError(Exception):
    """Something the other side should know. Its message never holds a secret, a prompt or a model's words.

    Attributes:
        path: the offending field of the request, where there is one.
        execution_id: the execution that failed, once there was one.
        retry_after_s: when trying again makes sense.
        headers: further headers of the answer.
    """

    def __init__(
        self, code: ErrorCode, message: str, *, path: str | None = None, retry_after_s: int | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.path = path or None
        self.retry_after_s = retry_after_s
        self.execution_id: str | None = None
        self.headers: Mapping[str, str] = {}

    def body(self) -> dict[str, object]:
        """The answer's body."""
        detail = ErrorDetail(code=self.code, message=self.message, execution_id=self.execution_id, path=self.path)
        return ErrorBody(error=detail).to_json()
