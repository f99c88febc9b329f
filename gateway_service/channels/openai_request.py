"""A request for a chat completion, read: what of it reaches an agent, what is refused, and what is ignored.

The release decides about instructions, the model and how it samples. What a client says of these is ignored where the
answer stays what was asked for (`temperature`, `seed`, …), and refused where it would not (`stop`, `n`, …).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from contract.canonical import canonical_json
from contract.nodes import MAX_OUTPUT_TOKENS
from gateway_service.channels.openai_messages import invalid, read_messages, read_turn
from gateway_service.nodes.agent import MESSAGE_INPUT

if TYPE_CHECKING:
    from gateway_service.channels.openai_messages import Conversation
    from gateway_service.models.messages import ClientTurn
    from gateway_service.registrations import Registration

_ANNOTATIONS = ("$schema", "title", "description", "examples", "default")
_REFUSED = {
    "functions": "was replaced by 'tools' in the protocol, and is not offered",
    "function_call": "was replaced by 'tool_choice' in the protocol, and is not offered",
    "audio": "is not offered by this gateway",
    "logit_bias": "is not offered: the release decides what the model says",
    "logprobs": "is not offered by this gateway",
    "top_logprobs": "is not offered by this gateway",
    "stop": "is not offered: the agent decides where its answer ends",
    "store": "is not offered: a gateway keeps no completions",
    "web_search_options": "is not offered: the release decides about tools",
}


@dataclass(frozen=True)
class ChatRequestBody:
    """What a client asks for.

    Attributes:
        model: the registration.
        messages: what was said before, the question, which becomes the input `message`, and what came after it.
        turn: the tools that the client runs itself.
        inputs: further inputs, without `message`.
        user: what keeps calls on one release while a canary is tried.
        max_tokens: the client's bound on the answer.
        stream: whether the answer comes as chunks.
        stream_usage: whether the last chunk shall tell the usage.
        response_format: the form that the client expects, as it says it.
    """

    model: str
    messages: Conversation
    turn: ClientTurn
    inputs: dict[str, Any]
    user: str | None
    max_tokens: int | None
    stream: bool
    stream_usage: bool
    response_format: dict[str, Any] | None

    @classmethod
    def read(cls, body: dict[str, Any]) -> ChatRequestBody:
        """Read a request's body.

        Raises:
            GatewayError: a member is malformed or asks for what is not offered; the path names it.
        """
        model = body.get("model")
        if not isinstance(model, str):
            raise invalid("model", "must name a registration")
        _refuse_not_offered(body)
        messages = read_messages(body.get("messages"))
        stream = _flag(body, "stream")
        return cls(
            model=model,
            messages=messages,
            turn=read_turn(body, messages),
            inputs=_object(body, "inputs") or {},
            user=_user(body),
            max_tokens=_max_tokens(body),
            stream=stream,
            stream_usage=stream and _stream_usage(body),
            response_format=_object(body, "response_format"),
        )

    def inputs_for(self, registration: Registration) -> dict[str, Any]:
        """The inputs of an execution.

        Raises:
            GatewayError: the registration takes no message.
        """
        if MESSAGE_INPUT not in registration.input_schema.get("properties", {}):
            raise invalid("model", "takes no message; call it through /workflows/{name}/execute")
        return {**self.inputs, MESSAGE_INPUT: self.messages.question.content}

    def check_tools(self, registration: Registration) -> None:
        """Refuse what concerns tools of the client where the agent takes none.

        Raises:
            GatewayError: it does not.
        """
        if registration.takes_client_tools:
            return
        if self.turn.tools:
            raise invalid("tools", "are not taken: the release of this registration does not allow tools of callers")
        if self.messages.first_of_tools is not None:
            raise invalid(f"messages[{self.messages.first_of_tools}]", "speaks of tools, which are not taken here")

    def check_form(self, registration: Registration) -> None:
        """Refuse a form of the answer that the release does not answer in anyway.

        Raises:
            GatewayError: it is another one.
        """
        if self.response_format is None:
            return
        match self.response_format.get("type"):
            case "text":
                return
            case "json_object":
                if registration.answer_schema is None:
                    raise invalid("response_format", "asks for JSON, and this registration answers in plain text")
            case "json_schema":
                self._check_schema(registration)
            case _:
                raise invalid("response_format.type", "must be 'text', 'json_object' or 'json_schema'")

    def _check_schema(self, registration: Registration) -> None:
        path = "response_format.json_schema.schema"
        asked = (self.response_format or {}).get("json_schema")
        schema = asked.get("schema") if isinstance(asked, dict) else None
        if not isinstance(schema, dict):
            raise invalid(path, "must be a JSON Schema")
        declared = registration.answer_schema
        if declared is None:
            raise invalid(path, "cannot be kept: this registration answers in plain text")
        if _essence(schema) != _essence(declared):
            raise invalid(path, "is not the schema that this registration answers in; GET /workflows/{name} shows it")


def _refuse_not_offered(body: dict[str, Any]) -> None:
    for member, reason in _REFUSED.items():
        if body.get(member):
            raise invalid(member, reason)
    if body.get("n") not in (None, 1):
        raise invalid("n", "must be 1: an agent gives one answer")
    if body.get("modalities") not in (None, ["text"]):
        raise invalid("modalities", "must be ['text']")


def _user(body: dict[str, Any]) -> str | None:
    """Whom the client speaks for: OpenAI's `user`, or its successor `safety_identifier`."""
    for member in ("user", "safety_identifier"):
        user = body.get(member)
        if user is not None and not isinstance(user, str):
            raise invalid(member, "must be text")
        if user:
            return user
    return None


def _max_tokens(body: dict[str, Any]) -> int | None:
    """The client's bound, by its old or its new name; of both, the lower one."""
    bounds = []
    for member in ("max_tokens", "max_completion_tokens"):
        bound = body.get(member)
        if bound is None:
            continue
        if not isinstance(bound, int) or isinstance(bound, bool) or bound < 1:
            raise invalid(member, "must be a whole number of at least 1")
        bounds.append(min(bound, MAX_OUTPUT_TOKENS))
    return min(bounds, default=None)


def _stream_usage(body: dict[str, Any]) -> bool:
    options = _object(body, "stream_options") or {}
    wanted = options.get("include_usage")
    if wanted is not None and not isinstance(wanted, bool):
        raise invalid("stream_options.include_usage", "must be true or false")
    return bool(wanted)


def _flag(body: dict[str, Any], member: str) -> bool:
    value = body.get(member)
    if value is not None and not isinstance(value, bool):
        raise invalid(member, "must be true or false")
    return bool(value)


def _object(body: dict[str, Any], member: str) -> dict[str, Any] | None:
    value = body.get(member)
    if value is not None and not isinstance(value, dict):
        raise invalid(member, "must be an object")
    return value


def _essence(schema: Any) -> bytes:
    """What a schema demands, without what it only tells: generators write titles that nobody asked for."""
    return canonical_json(_bare(schema))


def _bare(schema: Any) -> Any:
    """A schema without annotations. A property may be called `title`, so properties are taken as they are named."""
    if isinstance(schema, list):
        return [_bare(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    bare: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword in ("properties", "$defs") and isinstance(value, dict):
            bare[keyword] = {name: _bare(each) for name, each in value.items()}
        elif keyword in ("enum", "const"):
            bare[keyword] = value
        elif keyword == "required" and isinstance(value, list):
            bare[keyword] = sorted(value, key=str)
        elif keyword not in _ANNOTATIONS:
            bare[keyword] = _bare(value)
    return bare
