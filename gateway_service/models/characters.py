"""Text whose characters may come in halves: JSON lets a surrogate stand alone, and streams cut pairs in two."""

from __future__ import annotations

import re

_SURROGATES = re.compile("[\\ud800-\\udfff]")


def well_formed(text: str) -> str:
    """Text that can be encoded: surrogate pairs are joined, and lone ones replaced."""
    if not _SURROGATES.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def whole_characters(text: str) -> tuple[str, str]:
    """The text, and apart from it the first half of a character whose second half comes with the next event."""
    if text and "\ud800" <= text[-1] <= "\udbff":
        return well_formed(text[:-1]), text[-1]
    return well_formed(text), ""
