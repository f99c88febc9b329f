"""Forms in the look of the dashboard: every Django form renders this way through `FORM_RENDERER`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from django import forms
from django.conf import settings
from django.forms.renderers import DjangoTemplates
from django.utils.functional import cached_property

if TYPE_CHECKING:
    from django.template.backends.django import DjangoTemplates as Engine


class TablerRenderer(DjangoTemplates):
    """Looks for form templates in `templates/`, then in the apps (the admin brings widgets), then at Django's own."""

    form_template_name = "forms/form.html"
    field_template_name = "forms/field.html"
    formset_template_name = "django/forms/formsets/div.html"

    @cached_property
    def engine(self) -> Engine:
        engine: Engine = self.backend(
            {
                "APP_DIRS": True,
                "DIRS": [settings.BASE_DIR / "templates", Path(forms.__file__).parent / "templates"],
                "NAME": "forms",
                "OPTIONS": {"libraries": {"ui": "apps.core.templatetags.ui"}},
            }
        )
        return engine


class SwitchInput(forms.CheckboxInput):
    """A yes-or-no that takes effect when the form is saved, drawn as a switch."""

    switch = True


class CodeTextarea(forms.Textarea):
    """Several lines in a fixed-width face, without spelling marks: JSON, prompts with placeholders."""

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        super().__init__({"class": "code", "rows": 8, "spellcheck": "false", "autocapitalize": "off", **(attrs or {})})


class SecretInput(forms.PasswordInput):
    """A secret that is typed once and never shown again: not in the page, not in the browser's memory."""

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        super().__init__({"autocomplete": "new-password", "spellcheck": "false", **(attrs or {})}, render_value=False)
