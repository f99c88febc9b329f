"""A JSON value as HTML that folds without any script."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

# A viewer is for reading; beyond this the raw document is the better form.
_MOST_NODES = 2_000


def tree(value: Any, open_levels: int) -> SafeString:
    """Nested `<details>`; the outer `open_levels` are unfolded."""
    return _node("", value, open_levels, [_MOST_NODES])


def _node(label: str, value: Any, open_levels: int, budget: list[int]) -> SafeString:
    budget[0] -= 1
    key = format_html('<span class="key">{}</span>: ', json.dumps(label, ensure_ascii=False)) if label else ""
    if budget[0] < 0:
        return format_html('<div class="line count">…</div>')
    if isinstance(value, Mapping) and value:
        children = [(str(name), child) for name, child in value.items()]
        return _fold(key, children, "{}", open_levels, budget)
    if isinstance(value, list | tuple) and value:
        return _fold(key, [("", child) for child in value], "[]", open_levels, budget)
    return format_html('<div class="line">{}<span class="{}">{}</span></div>', key, _kind(value), _literal(value))


def _fold(key: str, children: list[tuple[str, Any]], brackets: str, open_levels: int, budget: list[int]) -> SafeString:
    inner = format_html_join("", "{}", ((_node(name, child, open_levels - 1, budget),) for name, child in children))
    return format_html(
        '<details{}><summary>{}{} <span class="count">{}</span></summary><div>{}</div></details>',
        SafeString(" open") if open_levels > 0 else "",
        key,
        brackets,
        len(children),
        inner,
    )


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return "string"
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else "literal"


def _literal(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
