"""Names of things: which model a resource type such as `caller-key` stands for, and back."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from django.apps import apps

from apps.core.errors import NotFound

if TYPE_CHECKING:
    from django.db.models import Model


def type_of(model: type[Model] | Model) -> str:
    """The resource type of a model: its class name in kebab case, `CallerKey` → `caller-key`."""
    cls = model if isinstance(model, type) else type(model)
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", cls.__name__).lower()


@cache
def _models() -> dict[str, type[Model]]:
    found: dict[str, type[Model]] = {}
    for config in apps.get_app_configs():
        if config.name.startswith("apps."):
            found |= {type_of(model): model for model in config.get_models()}
    return found


def model_of(resource_type: str) -> type[Model]:
    """The model behind a resource type.

    Raises:
        NotFound: there is no such type.
    """
    try:
        return _models()[resource_type]
    except KeyError:
        raise NotFound(f"There is no resource type “{resource_type}”.") from None
