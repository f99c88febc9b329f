"""How asking a model can fail. A provider's own words stay out of answers and logs: they may repeat the prompt."""

from __future__ import annotations

from contract.errors import ErrorCode
from gateway_service.errors import GatewayError


class ModelFailed(GatewayError):
    """The model could not be reached, refused, or answered nonsense.

    Attributes:
        again_after_s: when the same question may be asked again: nothing was said yet, and the failure is one that
            passes. None where asking again would be of no use, or might do something twice.
    """

    def __init__(self, message: str, *, again_after_s: float | None = None) -> None:
        super().__init__(ErrorCode.MODEL_FAILED, message)
        self.again_after_s = again_after_s
