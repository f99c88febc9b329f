"""What several pages about deployments need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError

if TYPE_CHECKING:
    from django import forms

TRAIL = [("Deployments", "deployments:matrix")]


def choice(form: forms.Form, name: str) -> Any:
    """The row that a field of the form names at the moment; None if it names none."""
    field: Any = form.fields[name]
    try:
        return field.to_python(form[name].value())
    except ValidationError:
        return None
