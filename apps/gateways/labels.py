"""Labels of gateways: what is true of a gateway and does not follow from its address, such as `region=eu`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from apps.core.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Mapping

LABELS_MAX = 20
KEY_PATTERN = r"[a-z][a-z0-9-]{0,39}"
VALUE_PATTERN = r"[a-z0-9][a-z0-9._-]{0,59}"


def check_labels(labels: Mapping[str, Any]) -> dict[str, str]:
    """The labels, ordered by key.

    Raises:
        Invalid: there are too many, or one breaks the rule of keys or of values.
    """
    if len(labels) > LABELS_MAX:
        raise _wrong(f"A gateway has at most {LABELS_MAX} labels.")
    for key, value in labels.items():
        if not re.fullmatch(KEY_PATTERN, str(key)):
            raise _wrong(f"“{str(key)[:80]}” cannot be a label's name: use lower-case letters, digits and hyphens.")
        if not isinstance(value, str) or not re.fullmatch(VALUE_PATTERN, value):
            raise _wrong(f"The value of “{key}” must be made of lower-case letters, digits, dots, - and _.")
    return dict(sorted(labels.items()))


def labels_from_text(text: str) -> dict[str, str]:
    """Labels as people write them: `region=eu, rack=7`, separated by commas, spaces or lines.

    Raises:
        Invalid: as `check_labels`, or one is no `name=value`, or a name occurs twice.
    """
    found: dict[str, str] = {}
    for part in text.replace(",", " ").split():
        key, equals, value = part.partition("=")
        if not equals:
            raise _wrong(f"“{part[:80]}” is no label; write name=value, such as region=eu.")
        if key in found:
            raise _wrong(f"The label “{key}” occurs twice.")
        found[key] = value
    return check_labels(found)


def labels_as_text(labels: Mapping[str, str]) -> str:
    """The labels as `labels_from_text` reads them."""
    return ", ".join(f"{key}={value}" for key, value in sorted(labels.items()))


def _wrong(message: str) -> Invalid:
    return Invalid(fields={"labels": [message]})
