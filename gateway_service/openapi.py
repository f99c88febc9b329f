"""The two OpenAPI documents. They describe the API, not the gateway: they hold no name, no address and no state."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic.json_schema import models_json_schema

from contract.admin_api import (
    EXECUTION_PAGE_LIMIT,
    PREFIX,
    SIGNATURE_HEADER,
    Acknowledgement,
    DrainState,
    ExecutionPage,
    GatewayState,
    PutRequest,
)
from contract.errors import ErrorBody
from contract.kinds import KINDS, Kind
from gateway_service import VERSION

Json = dict[str, Any]

_REF = "#/components/schemas/{model}"
_ERROR = {"application/json": {"schema": {"$ref": _REF.format(model="ErrorBody")}}}
_ALWAYS = (400, 405, 408, 431, 503)
"""Errors that any request can meet, whatever it asks for."""
_MEANINGS = {
    400: "The request is malformed.",
    401: "The credential is missing or wrong.",
    402: "A budget of the key is spent; `Retry-After` says when the next one begins.",
    403: "The credential does not open this; or what is asked for is stopped, or signed by nobody who is trusted.",
    404: "There is no such thing.",
    405: "The method is not allowed here.",
    408: "The request did not arrive in time.",
    409: "Something else has this generation.",
    413: "The body is too large.",
    415: "The body is not sent as JSON.",
    422: "A field does not fit; `path` names it.",
    429: "A limit of the key is reached; `Retry-After` says when to try again.",
    431: "The request's head is too large.",
    502: "The model or a node failed.",
    503: "The gateway is full, about to stop, or must run nothing; `Retry-After` says when to try again.",
    504: "The release's time limit passed.",
}
_LOOKUP = (403, 404)
_BODY = (413, 415, 422)
_EXECUTING = (*_LOOKUP, *_BODY, 402, 429, 502, 504)
_PLACING = (403, 404, 409, 413, 415, 422)
_EXECUTION_ID = {"name": "execution_id", "in": "path", "required": True, "schema": {"type": "string"}}
_SESSION_NAME: list[Json] = [
    {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
    for name in ("registration", "session_id")
]
_NAME = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
_OPEN: list[Json] = []


@cache
def admin_document() -> Json:
    """The admin API, which Studio speaks."""
    paths: Json = {
        f"{PREFIX}/state": {
            "get": _operation(
                "Who the gateway is, what it holds, how busy it is",
                answer=_ref(GatewayState),
                parameters=[_query("items", {"enum": ["0", "1"]}, "1 also lists every item")],
            )
        },
        f"{PREFIX}/drain": {"post": _operation("Accept no more executions", answer=_ref(DrainState))},
        f"{PREFIX}/executions": {
            "get": _operation(
                "The execution log as a cursor",
                answer=_ref(ExecutionPage),
                parameters=[
                    _query("after", {"type": "integer", "minimum": 0}, "the last position that was read"),
                    _query("limit", {"type": "integer", "minimum": 1, "maximum": EXECUTION_PAGE_LIMIT}, "page size"),
                ],
            )
        },
        f"{PREFIX}/openapi.json": {"get": _operation("This document", answer={"type": "object"}, security=_OPEN)},
        "/metrics": {"get": _operation("Metrics for Prometheus", answer={"type": "string"}, media_type="text/plain")},
        "/healthz": {"get": _operation("Whether the process answers", answer={"type": "object"}, security=_OPEN)},
        "/readyz": {"get": _operation("Whether callers may be sent here", answer={"type": "object"}, security=_OPEN)},
    }
    for kind in KINDS.values():
        paths[f"{PREFIX}/{kind.segment}/{{name}}"] = _placement(kind)
    payloads = [kind.payload for kind in KINDS.values()]
    models = [GatewayState, DrainState, ExecutionPage, Acknowledgement, ErrorBody, *payloads]
    schemes = {"deployToken": {"type": "http", "scheme": "bearer"}}
    return _document("Kaizen gateway: admin API", paths, models, schemes, "deployToken")


@cache
def caller_document() -> Json:
    """The callers' side: API and OpenAI-compatible endpoint. MCP describes itself."""
    execute = _operation(
        "Run a registration",
        answer=_EXECUTION,
        parameters=[_NAME],
        errors=_EXECUTING,
        body={
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "inputs": {"type": "object", "description": "as the registration's `inputs` schema says"},
                "session_id": {"type": "string", "minLength": 1, "maxLength": 128},
                "mode": {"enum": ["sync", "stream", "async"], "default": "sync"},
            },
        },
    )
    execute["responses"]["200"]["content"]["text/event-stream"] = {"schema": {"type": "string"}}
    execute["responses"]["202"] = {
        "description": "It runs in the background; ask for it at `Location`.",
        "headers": {"Location": {"schema": {"type": "string"}}},
        "content": {"application/json": {"schema": _BACKGROUND}},
    }
    paths: Json = {
        "/workflows": {
            "get": _operation(
                "What the key may call, by name", answer={"type": "object", "additionalProperties": _REGISTRATION}
            )
        },
        "/workflows/{name}": {
            "get": _operation("One registration's interface", answer=_REGISTRATION, parameters=[_NAME], errors=_LOOKUP),
            "post": _operation(
                "Run a registration, as the stock Nexus CLI does",
                answer=_EXECUTION,
                parameters=[_NAME],
                errors=_EXECUTING,
                body={
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {"parameters": {"type": "object"}},
                },
            ),
        },
        "/workflows/{name}/execute": {"post": execute},
        "/executions/{execution_id}": {
            "get": _operation(
                "An execution in the background, and its result",
                answer=_BACKGROUND,
                parameters=[_EXECUTION_ID],
                errors=(404,),
            ),
            "delete": _operation(
                "Cancel it if it runs, and forget its result", parameters=[_EXECUTION_ID], errors=(404,)
            ),
        },
        "/sessions": {
            "get": _operation(
                "The key's sessions, those used last first",
                answer=_SESSIONS,
                parameters=[
                    _query("registration", {"type": "string"}, "only those with this one"),
                    _query("cursor", {"type": "string"}, "the `next` of another page"),
                    _query("limit", {"type": "integer", "minimum": 1, "maximum": 200, "default": 50}, "page size"),
                ],
            ),
            "delete": _operation(
                "Forget all sessions with a registration",
                answer={"type": "object", "properties": {"forgotten": {"type": "integer"}}},
                parameters=[{**_query("registration", {"type": "string"}, "its name"), "required": True}],
            ),
        },
        "/sessions/{registration}/{session_id}": {
            "get": _operation(
                "A session, with what is remembered of it", answer=_SESSION, parameters=_SESSION_NAME, errors=(404,)
            ),
            "delete": _operation("Forget a session", parameters=_SESSION_NAME, errors=(404,)),
        },
        "/v1/models": {"get": _operation("What the key may call, as OpenAI models", answer={"type": "object"})},
        "/v1/models/{name}": {
            "get": _operation(
                "One registration as an OpenAI model", {"type": "object"}, parameters=[_NAME], errors=_LOOKUP
            )
        },
        "/openapi.json": {"get": _operation("This document", answer={"type": "object"}, security=_OPEN)},
        "/healthz": {"get": _operation("Whether the process answers", answer={"type": "object"}, security=_OPEN)},
        "/readyz": {"get": _operation("Whether callers may be sent here", answer={"type": "object"}, security=_OPEN)},
        "/v1/chat/completions": {
            "post": _operation(
                "Chat with a registration, named as the model",
                answer={"type": "object"},
                errors=_EXECUTING,
                body={
                    "type": "object",
                    "required": ["model", "messages"],
                    "properties": {
                        "model": {"type": "string"},
                        "messages": {"type": "array", "minItems": 1, "items": {"type": "object"}},
                        "stream": {"type": "boolean"},
                        "max_tokens": {"type": "integer", "minimum": 1},
                        "max_completion_tokens": {"type": "integer", "minimum": 1},
                        "response_format": {"type": "object", "description": "kept where the release answers in it"},
                        "inputs": {"type": "object", "description": "further inputs of the registration"},
                        "user": {"type": "string", "description": "keeps its calls on one release during a rollout"},
                        "safety_identifier": {"type": "string", "description": "the successor of `user`"},
                    },
                },
            )
        },
    }
    schemes = {"gatewayKey": {"type": "http", "scheme": "bearer"}, "basicKey": {"type": "http", "scheme": "basic"}}
    return _document("Kaizen gateway", paths, [ErrorBody], schemes, *schemes)


_REGISTRATION: Json = {
    "type": "object",
    "required": ["name", "title", "description", "kind", "version", "release", "inputs", "outputs", "stopped"],
    "properties": {
        "name": {"type": "string"},
        "title": {"type": "string"},
        "description": {"type": "string"},
        "kind": {"enum": ["agent", "workflow"]},
        "version": {"type": "integer"},
        "release": {"type": "string", "description": "digest of the release"},
        "inputs": {"type": "object", "description": "JSON Schema of the inputs"},
        "outputs": {"type": "array", "items": {"type": "string"}},
        "output_schema": {"type": "object"},
        "streams": {"type": "boolean"},
        "remembers": {"type": "boolean"},
        "stopped": {"type": "boolean", "description": "whether calls are refused until a stop is lifted"},
    },
}
_EXECUTION: Json = {
    "type": "object",
    "required": ["outputs", "execution_id", "registration", "release", "usage"],
    "properties": {
        "outputs": {"type": "object"},
        "execution_id": {"type": "string"},
        "registration": {"type": "string"},
        "release": {"type": "string"},
        "usage": {
            "type": "object",
            "properties": {"input_tokens": {"type": "integer"}, "output_tokens": {"type": "integer"}},
        },
    },
}
_SESSION: Json = {
    "type": "object",
    "required": ["registration", "session_id", "created_at", "used_at", "expires_at"],
    "properties": {
        "registration": {"type": "string"},
        "session_id": {"type": "string"},
        "created_at": {"type": "string", "format": "date-time"},
        "used_at": {"type": "string", "format": "date-time"},
        "expires_at": {"type": "string", "format": "date-time", "description": "when it is forgotten if not used"},
        "messages": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "role": {"enum": ["user", "assistant"]},
                    "content": {"type": "string"},
                    "node": {"type": "string", "description": "the agent whose conversation it belongs to"},
                    "at": {"type": "string", "format": "date-time"},
                },
            },
        },
    },
}
_SESSIONS: Json = {
    "type": "object",
    "required": ["items", "next"],
    "properties": {"items": {"type": "array", "items": _SESSION}, "next": {"type": ["string", "null"]}},
}
_BACKGROUND: Json = {
    "type": "object",
    "required": ["execution_id", "registration", "status"],
    "properties": {
        "execution_id": {"type": "string"},
        "registration": {"type": "string"},
        "release": {"type": "string"},
        "status": {"enum": ["running", "finished"]},
        "started_at": {"type": "string", "format": "date-time"},
        "finished_at": {"type": "string", "format": "date-time"},
        "expires_at": {"type": "string", "format": "date-time", "description": "when the result is forgotten"},
        "result": {**_EXECUTION, "description": "of an execution that succeeded: as a synchronous call answers"},
        "error": {"type": "object", "description": "of one that failed: as a synchronous call is refused"},
    },
}


def _document(title: str, paths: Json, models: list[Any], schemes: Json, *security: str) -> Json:
    _, schemas = models_json_schema([(model, "serialization") for model in models], ref_template=_REF)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": VERSION},
        "security": [{scheme: []} for scheme in security],
        "paths": paths,
        "components": {"schemas": schemas["$defs"], "securitySchemes": schemes},
    }


def _placement(kind: Kind) -> Json:
    """PUT and DELETE of one kind."""
    fields = PutRequest.model_json_schema()["properties"]
    members = {name: schema for name, schema in fields.items() if name != "payload"}
    body = {
        "type": "object",
        "additionalProperties": False,
        "required": ["generation", "digest", "signature", kind.payload_field],
        "properties": {**members, kind.payload_field: _ref(kind.payload)},
    }
    signature = {"name": SIGNATURE_HEADER, "in": "header", "required": True, "schema": {"type": "string"}}
    generation = _query("generation", {"type": "integer", "minimum": 1}, "of the tombstone")
    acknowledgement = _ref(Acknowledgement)
    return {
        "put": _operation(
            f"Place a payload of kind {kind.name}", acknowledgement, parameters=[_NAME], body=body, errors=_PLACING
        ),
        "delete": _operation(
            f"Delete a thing of kind {kind.name}",
            acknowledgement,
            errors=(403, 404, 409),
            parameters=[_NAME, {**generation, "required": True}, signature],
        ),
    }


def _operation(
    summary: str,
    answer: Json | None = None,
    *,
    parameters: list[Json] | None = None,
    body: Json | None = None,
    media_type: str = "application/json",
    security: list[Json] | None = None,
    errors: tuple[int, ...] = (),
) -> Json:
    """One operation; without an `answer` it succeeds with 204."""
    statuses = {*_ALWAYS, *errors, *(() if security == _OPEN else (401,))}
    done: Json = {"204": {"description": "Done."}}
    if answer is not None:
        done = {"200": {"description": "Done.", "content": {media_type: {"schema": answer}}}}
    operation: Json = {
        "summary": summary,
        "responses": {
            **done,
            **{str(status): {"description": _MEANINGS[status], "content": _ERROR} for status in sorted(statuses)},
        },
    }
    if parameters:
        operation["parameters"] = parameters
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    if security is not None:
        operation["security"] = security
    return operation


def _query(name: str, schema: Json, description: str) -> Json:
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _ref(model: type[Any]) -> Json:
    return {"$ref": _REF.format(model=model.__name__)}
