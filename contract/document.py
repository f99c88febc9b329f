"""The base of every content-addressed payload: parsed strictly, digested over the bytes it came as."""

from __future__ import annotations

from typing import Any, ClassVar, Self, TypeVar

from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError

from contract.canonical import canonical_json, digest_of, strict_loads
from contract.errors import ContractError

_Model = TypeVar("_Model", bound=BaseModel)


class Part(BaseModel):
    """A piece of a document. Unknown members are refused: a gateway must not drop a wish it does not understand."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Document(Part):
    """An immutable JSON document with a canonical form and a digest.

    The digest of a parsed document is that of what was received, not of a re-serialisation, so that a later contract
    with new optional members still agrees about old documents.
    """

    max_bytes: ClassVar[int] = 1_000_000

    _canonical: bytes | None = PrivateAttr(default=None)
    _digest: str | None = PrivateAttr(default=None)

    @classmethod
    def parse(cls, source: bytes | str | dict[str, Any]) -> Self:
        """Read and check a document.

        Raises:
            ContractError: it breaks the contract; the path names the offending member.
        """
        value = source if isinstance(source, dict) else strict_loads(source)
        canonical = canonical_json(value)
        if len(canonical) > cls.max_bytes:
            raise ContractError(f"has {len(canonical)} bytes; the most is {cls.max_bytes}")
        document = parse_json(cls, canonical)
        document._canonical = canonical  # noqa: SLF001 (an instance of this very class)
        return document

    @property
    def canonical(self) -> bytes:
        """The document's canonical JSON, which its digest and its storage are made of."""
        if self._canonical is None:
            self._canonical = canonical_json(self.model_dump(mode="json", exclude_none=True))
        return self._canonical

    @property
    def digest(self) -> str:
        """``sha256:<hex>`` of the canonical form."""
        if self._digest is None:
            self._digest = digest_of(self.canonical)
        return self._digest

    def to_json(self) -> dict[str, Any]:
        """The document as JSON values, equal to what its digest was made of."""
        value: dict[str, Any] = strict_loads(self.canonical)
        return value


def parse_json(model: type[_Model], source: bytes | str) -> _Model:
    """Parse JSON text into a model without any coercion.

    Raises:
        ContractError: the first violation, with its path.
    """
    try:
        return model.model_validate_json(source, strict=True)
    except ValidationError as error:
        raise contract_error(error) from None


def contract_error(error: ValidationError) -> ContractError:
    """The first violation pydantic found, as a contract error with a path such as ``nodes[0].type``."""
    first = error.errors(include_url=False, include_input=False)[0]
    cause = first.get("ctx", {}).get("error")
    path = _path(first["loc"])
    if not isinstance(cause, ContractError):
        return ContractError(_sentence(first["msg"]), path)
    cause.path = ".".join(step for step in (path, cause.path) if step)
    return cause


def _path(location: tuple[int | str, ...]) -> str:
    path = ""
    for step in location:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else step
    return path


def _sentence(message: str) -> str:
    return message.removeprefix("Value error, ").removeprefix("Input ").rstrip(".")
