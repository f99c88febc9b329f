"""What several pages about deployments need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError

from apps.core.pages.base import ObjectPage
from apps.deployments.models import Deployment

if TYPE_CHECKING:
    from django import forms

TRAIL = [("Deployments", "deployments:matrix")]


class OfDeployment(ObjectPage):
    """One deployment is what the page is about, to be mixed into a page; the page's command asks for its own right."""

    action = "deployment.view"
    queryset = Deployment.objects.with_names()
    trail = TRAIL


def choice(form: forms.Form, name: str) -> Any:
    """The row that a field of the form names at the moment; None if it names none."""
    field: Any = form.fields[name]
    try:
        return field.to_python(form[name].value())
    except ValidationError:
        return None
