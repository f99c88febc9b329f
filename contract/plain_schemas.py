"""A quick yes for values that plain schemas accept.

Most schemas that people write are plain: an object with named properties of simple types. Whether a value fits one of
these needs no JSON Schema library. What is not surely right here is not wrong: the library decides, and says why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from contract.schemas import Schema

    Fits = Callable[[Any], bool]

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    # 1.0 is an integer to JSON Schema, too; it takes the long way.
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
    "null": (type(None),),
}
_ANNOTATIONS = {"title", "description", "default", "examples", "$comment", "deprecated", "readOnly", "writeOnly"}
_KEYWORDS = {
    "string": {"minLength", "maxLength"},
    "object": {"properties", "required", "additionalProperties"},
    "array": {"items", "minItems", "maxItems"},
}


def plainly_fits(schema: Schema) -> Fits:
    """A function that is true only for values that fit a schema, which has passed `check_schema`.

    It is false for all values if the schema is not plain.
    """
    return _compiled(schema) or _never_sure


def _never_sure(_: Any) -> bool:
    return False


def _compiled(schema: object) -> Fits | None:
    if not isinstance(schema, dict):
        return None
    name = schema.get("type")
    if not isinstance(name, str) or not schema.keys() - _ANNOTATIONS <= {"type"} | _KEYWORDS.get(name, set()):
        return None
    match name:
        case "object":
            return _object(schema)
        case "array":
            return _array(schema)
        case "string":
            return _string(schema)
        case _:
            types = _TYPES[name]
            return lambda value: type(value) in types


def _string(schema: Schema) -> Fits:
    least, most = schema.get("minLength", 0), schema.get("maxLength", float("inf"))
    return lambda value: type(value) is str and least <= len(value) <= most


def _array(schema: Schema) -> Fits | None:
    least, most = schema.get("minItems", 0), schema.get("maxItems", float("inf"))
    if "items" not in schema:
        return lambda value: type(value) is list and least <= len(value) <= most
    item = _compiled(schema["items"])
    if item is None:
        return None
    return lambda value: type(value) is list and least <= len(value) <= most and all(map(item, value))


def _object(schema: Schema) -> Fits | None:
    properties = {name: _compiled(member) for name, member in schema.get("properties", {}).items()}
    open_to_all = schema.get("additionalProperties", True)
    if not isinstance(open_to_all, bool):
        return None
    members = {name: fits for name, fits in properties.items() if fits is not None}
    if len(members) < len(properties):
        return None
    required = frozenset(schema.get("required", ()))

    def fits(value: Any) -> bool:
        if type(value) is not dict or not required <= value.keys():
            return False
        for name, member in value.items():
            check = members.get(name)
            if not open_to_all if check is None else not check(member):
                return False
        return True

    return fits
