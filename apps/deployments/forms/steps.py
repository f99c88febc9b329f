"""The steps of a plan as rows of a form: how far, how long it is watched, who lets it go on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ValidationError

from apps.core.errors import Invalid
from apps.deployments.forms.durations import seconds_of
from apps.deployments.strategies.plans import SOAK_MAX_S, STEPS_MAX, PlannedStep, Share, seconds_in_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Rows to write into where no script can add one.
_SPARE = 2
_APPROVED = "approved"


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it stands in the form, right or wrong."""

    share: str = ""
    soak: str = ""
    approval: bool = False

    @classmethod
    def of(cls, step: PlannedStep) -> Row:
        return cls(str(step.share), seconds_in_words(step.soak_s) if step.soak_s else "", step.approval)


class StepsWidget(forms.Widget):
    """A row a step; a script adds and removes rows, and without one there are empty rows left at the end."""

    template_name = "deployments/plan/steps.html"
    use_fieldset = True

    def __init__(self, *, share_label: str, share_hint: str, attrs: dict[str, Any] | None = None) -> None:
        super().__init__(attrs)
        self.share_label, self.share_hint = share_label, share_hint

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        rows = [each if isinstance(each, Row) else Row.of(each) for each in value or ()] or [Row()]
        context = super().get_context(name, None, attrs)
        context["widget"] |= {
            "rows": rows,
            "spare": range(_SPARE),
            "share_label": self.share_label,
            "share_hint": self.share_hint,
            "most": STEPS_MAX,
        }
        return context

    def value_from_datadict(self, data: Any, files: Any, name: str) -> list[Row]:
        """The rows that were filled in."""
        shares, soaks, ways = (_all(data, f"{name}-{part}") for part in ("share", "soak", "then"))
        soaks += [""] * (len(shares) - len(soaks))
        ways += [""] * (len(shares) - len(ways))
        rows = (Row(*row) for row in zip(shares, soaks, (way == _APPROVED for way in ways), strict=False))
        return [row for row in rows if row.share.strip() or row.soak.strip()]

    def value_omitted_from_data(self, data: Mapping[str, Any], files: Any, name: str) -> bool:
        return f"{name}-share" not in data


class StepsField(forms.Field):
    """The steps of a plan.

    Args:
        percentages: a number without a unit means per cent of the callers, and not of the gateways' number.
    """

    def __init__(self, *, percentages: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.percentages = percentages

    def to_python(self, value: Any) -> tuple[PlannedStep, ...]:
        """The steps.

        Raises:
            ValidationError: a row is none; the message says which and why.
        """
        rows: Sequence[Row] = value or ()
        if len(rows) > STEPS_MAX:
            raise ValidationError(f"A plan has at most {STEPS_MAX} steps.")
        return tuple(self._step(row, number) for number, row in enumerate(rows, start=1))

    def _step(self, row: Row, number: int) -> PlannedStep:
        try:
            soak_s = seconds_of(row.soak)
            share = Share.parse(f"{row.share} %" if self.percentages and row.share.strip().isdigit() else row.share)
        except Invalid as error:
            raise ValidationError(f"Step {number}: {'; '.join(error.fields['plan'])}") from None
        except ValidationError as error:
            raise ValidationError(f"Step {number}: {error.message}") from None
        if soak_s > SOAK_MAX_S:
            raise ValidationError(f"Step {number}: the longest to watch a step is {seconds_in_words(SOAK_MAX_S)}.")
        return PlannedStep(share, soak_s, row.approval)


def _all(data: Any, name: str) -> list[str]:
    values = data.getlist(name) if hasattr(data, "getlist") else data.get(name, [])
    return [str(value) for value in values]
