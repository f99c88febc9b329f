"""Forms of the agents' pages. They read what was typed; what an agent may be is the commands' business."""

from __future__ import annotations

import json
import re
from typing import Any

from django import forms
from django.utils.text import slugify

from apps.accounts.models import User
from apps.agents.checks import check
from apps.agents.definitions import Definition, default_input_schema
from apps.agents.models import NAME_MAX_LENGTH, NOTE_MAX_LENGTH, PROFILE_MAX_LENGTH, Agent, validate_slug
from apps.core.errors import Invalid
from apps.core.forms import CodeTextarea, SwitchInput
from contract.canonical import strict_loads
from contract.errors import ContractError
from contract.names import SLUG_MAX_LENGTH
from contract.nodes import MAX_OUTPUT_TOKENS

_SHORT_LIST = re.compile(r"\[\n +([^\[\]{}]{1,80}?)\n *\]")


class SchemaField(forms.CharField):
    """A JSON Schema typed as text. Empty means None."""

    widget = CodeTextarea

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value)
        if not text:
            return None
        try:
            schema = strict_loads(text)
        except ContractError as error:
            raise forms.ValidationError(f"{error.reason[:1].upper()}{error.reason[1:]}.") from None
        if not isinstance(schema, dict):
            raise forms.ValidationError("Must be a JSON object, in braces.")
        return schema

    def prepare_value(self, value: Any) -> Any:
        return _laid_out(value) if isinstance(value, dict) else value


def _laid_out(schema: dict[str, Any]) -> str:
    """JSON as people write it: indented, with short lists of plain values on one line."""
    text = json.dumps(schema, indent=2, ensure_ascii=False)
    # Within a string a line break is escaped, so a real one that is matched here is only layout.
    return _SHORT_LIST.sub(lambda found: "[" + re.sub(r"\n +", " ", found[1]) + "]", text)


def _slug_field(*, required: bool) -> forms.CharField:
    return forms.CharField(
        required=required,
        max_length=SLUG_MAX_LENGTH,
        validators=[validate_slug],
        widget=forms.TextInput(attrs={"autocapitalize": "off", "spellcheck": "false", "autocomplete": "off"}),
        help_text="Its name in addresses and on gateways, such as <code>support-triage</code>. "
        "It never changes." + ("" if required else " Left empty, it is made from the name."),
    )


def _check_free(slug: str) -> str:
    """The command checks as well; here the message stands at its field.

    Raises:
        ValidationError: another agent has the slug.
    """
    holder = Agent.objects.filter(slug=slug).first()
    if holder is None:
        return slug
    if holder.deleted_at is not None:
        raise forms.ValidationError(f"“{slug}” belongs to a deleted agent, which can be restored.")
    raise forms.ValidationError(f"“{slug}” is taken by another agent.")


class DefinitionForm(forms.Form):
    """What a version freezes."""

    name = forms.CharField(max_length=NAME_MAX_LENGTH, help_text="What people call it.")
    description = forms.CharField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text="What it is for, and for whom. Callers and MCP clients read it too.",
    )
    instructions = forms.CharField(
        strip=False,
        widget=CodeTextarea(attrs={"rows": 14, "class": "code tall"}),
        help_text="The system prompt: who the agent is, what it does, what it never does. "
        "<code>{{name}}</code> stands for the input of that name.",
    )
    model_profile = forms.CharField(
        max_length=PROFILE_MAX_LENGTH,
        initial="default",
        widget=forms.TextInput(attrs={"autocapitalize": "off", "spellcheck": "false"}),
        help_text="Which of the gateway's models answers. Endpoint, model and credential are set on each gateway; "
        "every gateway has <code>default</code>.",
    )
    temperature = forms.FloatField(
        min_value=0,
        max_value=2,
        widget=forms.NumberInput(attrs={"step": "0.1", "min": 0, "max": 2}),
        help_text="0 for the same words every time, 1 for varied ones, at most 2.",
    )
    max_tokens = forms.IntegerField(
        label="Max tokens",
        min_value=1,
        max_value=MAX_OUTPUT_TOKENS,
        help_text="The most tokens of one answer. A token is about four characters of English.",
    )
    memory = forms.BooleanField(
        required=False,
        widget=SwitchInput,
        help_text="The agent sees the earlier messages of a caller's session.",
    )
    input_schema = SchemaField(
        help_text="JSON Schema (draft 2020-12) of what callers send: an object. Its <code>message</code> is what the "
        "model hears; every property can stand in the instructions.",
    )
    output_schema = SchemaField(
        required=False,
        help_text="JSON Schema of the answer: an object. The model is asked for JSON, and an answer that does not fit "
        "is refused. Left empty, the answer is plain text.",
    )

    def clean(self) -> dict[str, Any]:
        """Ask what the command will ask, so that everything wrong is said at once, also beside a wrong slug."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if set(Definition.NAMES) <= cleaned.keys():
            try:
                check(self.definition())
            except Invalid as error:
                for name, texts in error.fields.items():
                    self.add_error(name, texts)
        return cleaned

    def definition(self) -> Definition:
        """The definition that was typed."""
        return Definition(**{name: self.cleaned_data[name] for name in Definition.NAMES})


class NewAgentForm(DefinitionForm):
    """A definition and the slug."""

    slug = _slug_field(required=False)
    field_order = ("name", "slug")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        blank = Definition(name="", instructions="")
        for name in ("model_profile", "temperature", "max_tokens", "memory"):
            self.fields[name].initial = getattr(blank, name)
        self.fields["input_schema"].initial = default_input_schema()

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        if "slug" in self.errors or "name" in self.errors:
            return cleaned
        slug = cleaned["slug"] or slugify(cleaned["name"])[:SLUG_MAX_LENGTH].strip("-_").replace("_", "-")
        try:
            validate_slug(slug)
            cleaned["slug"] = _check_free(slug)
        except forms.ValidationError as error:
            self.add_error("slug", error if slug else "The name makes no slug; type one.")
        return cleaned


class EditAgentForm(DefinitionForm):
    """A definition and the revision of the draft that it changes."""

    revision = forms.IntegerField(widget=forms.HiddenInput)


class PublishForm(forms.Form):
    """The note of a version."""

    note = forms.CharField(
        required=False,
        max_length=NOTE_MAX_LENGTH,
        widget=forms.Textarea(attrs={"rows": 3, "placeholder": "What changed, and why"}),
        help_text="Whoever deploys or reviews this version reads it.",
    )
    revision = forms.IntegerField(widget=forms.HiddenInput)


class DuplicateForm(forms.Form):
    """The copy's slug and name."""

    name = forms.CharField(max_length=NAME_MAX_LENGTH)
    slug = _slug_field(required=True)

    def clean_slug(self) -> str:
        return _check_free(self.cleaned_data["slug"])


class HandOverForm(forms.Form):
    """Who answers for the agent from now on."""

    owner = forms.ModelChoiceField(
        queryset=User.objects.filter(is_active=True), label="New owner", help_text="Who answers for it from now on."
    )


class RestoreVersionForm(forms.Form):
    """Nothing to fill in: the revision of the draft that will be replaced."""

    revision = forms.IntegerField(widget=forms.HiddenInput)


class CompareForm(forms.Form):
    """Which two states to compare; a GET form."""

    tab = forms.CharField(widget=forms.HiddenInput, initial="compare")

    def __init__(self, *args: Any, choices: list[tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["from"] = forms.ChoiceField(choices=choices, label="From")
        self.fields["to"] = forms.ChoiceField(choices=choices, label="To")
