"""An agent's exchange with its model within one execution: question, tools, answer, and one chance to mend it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from contract.canonical import strict_loads
from contract.errors import ContractError, ErrorCode
from contract.schemas import first_violation
from gateway_service.errors import GatewayError
from gateway_service.models.failures import ModelFailed
from gateway_service.models.messages import ChatRequest, Message, Usage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jsonschema.protocols import Validator

    from gateway_service.execution.call import Call
    from gateway_service.models.messages import Answer
    from gateway_service.nodes.agent import AgentSettings
    from gateway_service.tools.toolbox import Toolbox

_BETWEEN_STEPS = "\n\n"
_CODE_FENCE = re.compile(r"\A\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*\Z", re.DOTALL)


class _InvalidAnswer(Exception):
    """The model's answer breaks its schema. The message says where and how, and does not repeat the answer."""


class Dialogue:
    """The messages so far, and what they have cost. The cost stands in the call too, also when something fails."""

    def __init__(
        self, settings: AgentSettings, call: Call, messages: Sequence[Message], toolbox: Toolbox | None = None
    ) -> None:
        self._settings = settings
        self._call = call
        self._messages = list(messages)
        self._toolbox = toolbox
        self._spent = Usage()
        self._said: list[str] = []
        self._step_began = False

    async def answer(self) -> tuple[str, Any]:
        """Ask until there is an answer.

        Returns:
            All that the agent said, which is also what was streamed; and None. With an answer schema the last answer
            alone, and its parsed form; it is handed over in one piece, because what was sent cannot be mended.
            Where the caller shall do something first, `client_calls` of the call says what, and there is no form.

        Raises:
            GatewayError: the model failed, a limit of the node was reached, or the answer breaks its schema twice.
        """
        self._refuse_names_twice()
        last = await self._until_it_calls_nothing()
        validator = self._settings.answer_validator
        if validator is None or self._call.client_calls:
            return _BETWEEN_STEPS.join(self._said), None
        try:
            text, parsed = last, _parsed(validator, last)
        except _InvalidAnswer as invalid:
            text, parsed = await self._mended(validator, invalid)
        if self._call.emit is not None:
            await self._call.emit(text)
        return text, parsed

    async def _until_it_calls_nothing(self) -> str:
        steps = self._settings.max_steps
        for step in range(1, steps + 1):
            reply = await self._ask(may_call=step < steps or self._toolbox is None)
            if not reply.tool_calls:
                return reply.text
            self._call.client_calls = self._call.turn.calls_of(reply)
            if self._call.client_calls:
                # What it wants of its own tools besides is not done: it would ask again, knowing nothing of it.
                return reply.text
            if self._toolbox is None:
                raise ModelFailed("the model calls tools, and has none")
            if step < steps:
                self._messages += await self._toolbox.call(reply.tool_calls)
        raise GatewayError(ErrorCode.NODE_FAILED, f"the agent came to no answer within {steps} steps")

    async def _mended(self, validator: Validator, invalid: _InvalidAnswer) -> tuple[str, Any]:
        wish = f"Your answer is not usable: {invalid}. Answer once more, with nothing but JSON that fits the schema."
        self._messages.append(Message("user", wish))
        reply = await self._ask(may_call=False)
        try:
            return reply.text, _parsed(validator, reply.text)
        except _InvalidAnswer as still:
            raise GatewayError(ErrorCode.INVALID_OUTPUT, f"the model's answer is not usable: {still}") from None

    async def _ask(self, *, may_call: bool) -> Answer:
        self._step_began = False
        streams = self._call.emit is not None and self._settings.answer_validator is None
        reply = await self._call.chat(self._request(may_call=may_call), self._emit if streams else None)
        self._spent += reply.usage
        self._call.usage = self._spent
        self._call.answered_by, self._call.finish_reason = reply.profile, reply.finish_reason
        if reply.text:
            self._said.append(reply.text)
        self._messages.append(Message("assistant", reply.text, reply.tool_calls))
        return reply

    async def _emit(self, piece: str) -> None:
        """Hand over a piece; the first one of a later step with a blank line before it."""
        assert self._call.emit is not None
        begins, self._step_began = not self._step_began, True
        await self._call.emit(_BETWEEN_STEPS + piece if begins and self._said else piece)

    def _request(self, *, may_call: bool) -> ChatRequest:
        settings, turn = self._settings, self._call.turn
        tools = self._toolbox.definitions if self._toolbox else ()
        if turn.may_call or self._toolbox is None:
            tools += turn.tools
        bounds = (settings.max_tokens, self._call.max_tokens, self._tokens_left())
        return ChatRequest(
            profile=settings.model_profile,
            messages=tuple(self._messages),
            temperature=settings.temperature,
            max_tokens=min((bound for bound in bounds if bound is not None), default=None),
            answer_schema=settings.answer_schema,
            tools=tools,
            may_call=may_call and (turn.may_call or self._toolbox is not None),
        )

    def _refuse_names_twice(self) -> None:
        own = {tool.name for tool in self._toolbox.definitions} if self._toolbox else set()
        for tool in self._call.turn.tools:
            if tool.name in own:
                raise GatewayError(ErrorCode.INVALID_INPUT, "tools: the agent has one of this name", path="tools")

    def _tokens_left(self) -> int | None:
        most = self._settings.max_total_tokens
        if most is None:
            return None
        left = most - self._spent.input_tokens - self._spent.output_tokens
        if left <= 0:
            raise GatewayError(ErrorCode.NODE_FAILED, f"the agent has spent its {most} tokens without an answer")
        return left


def _parsed(validator: Validator, text: str) -> Any:
    fenced = _CODE_FENCE.match(text)
    try:
        value = strict_loads(fenced.group(1) if fenced else text)
    except ContractError as error:
        raise _InvalidAnswer(f"it is {error.reason}") from None
    violation = first_violation(validator, value)
    if violation:
        path = f"answer.{violation.path}".rstrip(".")
        raise _InvalidAnswer(f"{path} {violation.reason}")
    return value
