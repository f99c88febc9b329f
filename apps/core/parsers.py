"""What the API reads: JSON as everyone must read it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser

from contract.canonical import strict_loads
from contract.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import IO


class JSONParser(BaseParser):
    """Refuses what two readers may read differently and text that PostgreSQL cannot store, before anyone acts on it."""

    media_type = "application/json"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        try:
            body = strict_loads(stream.read())
        except ContractError as error:
            raise ParseError(f"The body is no JSON that can be accepted: {error}.") from None
        if any("\x00" in text or not _encodable(text) for text in _texts(body)):
            raise ParseError("The body holds a NUL character or half a surrogate pair, which is no text.")
        return body


def _texts(value: Any) -> Iterator[str]:
    """Every string in a JSON value, keys included."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            yield from value
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
