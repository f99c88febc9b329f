"""What an execution is expected to spend at models, and what it has spent.

Expected is what its instructions and inputs have in tokens, and as much for each answer as the release allows. Where a
model's own count never arrives (the caller left in the middle, or the provider does not count), the same estimate of
what was sent and heard stands for it: hanging up early is no way around a limit.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from gateway_service.models.messages import Usage
from gateway_service.settings import DEFAULT_PROFILE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from gateway_service.models.messages import Answer, ChatRequest, Message
    from gateway_service.models.openai_protocol import Emit
    from gateway_service.registrations import Registration

    Chat = Callable[[ChatRequest, Emit | None], Awaitable[Answer]]
    Expenses = Mapping[str, Usage]

UNBOUNDED_ANSWER_TOKENS = 1_024
"""What an answer is expected to have where neither the agent nor its release bounds it."""

_BYTES_PER_TOKEN = 4


def tokens_in(*texts: str) -> int:
    """About how many tokens texts have."""
    return -(-sum(len(text.encode("utf-8", "surrogatepass")) for text in texts) // _BYTES_PER_TOKEN)


def expected(
    registration: Registration, inputs: Mapping[str, Any], history: Sequence[Message] = ()
) -> dict[str, Usage]:
    """What an execution may spend, by model profile."""
    said = tokens_in(json.dumps(inputs, ensure_ascii=False), *(message.content for message in history))
    expenses: defaultdict[str, Usage] = defaultdict(Usage)
    for node in registration.release.workflow.nodes:
        instructions = node.parameters.get("instructions")
        if not isinstance(instructions, str):
            continue
        bounds = (node.parameters.get("max_tokens"), registration.release.limits.max_tokens)
        answer = min((bound for bound in bounds if bound is not None), default=UNBOUNDED_ANSWER_TOKENS)
        expenses[node.parameters.get("model_profile", DEFAULT_PROFILE)] += Usage(tokens_in(instructions) + said, answer)
    return dict(expenses)


class Spending:
    """Counts what one execution spends."""

    def __init__(self) -> None:
        self._expenses: defaultdict[str, Usage] = defaultdict(Usage)

    @property
    def expenses(self) -> Expenses:
        """What was spent until now, by model profile."""
        return self._expenses

    def metered(self, chat: Chat) -> Chat:
        """Ask a model through `chat`, and count what that costs."""

        async def ask(request: ChatRequest, emit: Emit | None) -> Answer:
            heard: list[str] = []

            async def listen(text: str) -> None:
                heard.append(text)
                if emit is not None:
                    await emit(text)

            try:
                answer = await chat(request, None if emit is None else listen)
            except asyncio.CancelledError:
                self._count(request.profile, _guessed(request, heard, cancelled=True))
                raise
            except Exception:
                if heard:
                    self._count(request.profile, _guessed(request, heard, cancelled=False))
                raise
            counted = answer.usage if answer.usage != Usage() else _guessed(request, [answer.text], cancelled=False)
            # A fallback may have answered, at a price of its own.
            self._count(answer.profile or request.profile, counted)
            return answer

        return ask

    def _count(self, profile: str, usage: Usage) -> None:
        self._expenses[profile] += usage


def _guessed(request: ChatRequest, heard: Sequence[str], *, cancelled: bool) -> Usage:
    """An estimate; of an answer that was cancelled before anything was heard of it, the most that it may have."""
    asked = tokens_in(*(message.content for message in request.messages))
    if cancelled and not heard:
        return Usage(asked, request.max_tokens or UNBOUNDED_ANSWER_TOKENS)
    return Usage(asked, tokens_in(*heard))
