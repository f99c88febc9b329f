"""Filters of lists, and the search box."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any

import django_filters
from django import forms
from django.db.models import Q, QuerySet
from django_filters.conf import settings

if TYPE_CHECKING:
    from collections.abc import Sequence


class SearchFilter(django_filters.CharFilter):
    """The search box: every word must occur in one of the fields, in any case."""

    def __init__(self, *, fields: Sequence[str], placeholder: str = "Search", **kwargs: Any) -> None:
        widget = forms.TextInput(attrs={"type": "search", "placeholder": placeholder, "autocomplete": "off"})
        super().__init__(label=placeholder, max_length=200, widget=widget, **kwargs)
        self.search_fields = tuple(fields)

    def filter(self, qs: QuerySet[Any], value: Any) -> QuerySet[Any]:
        for word in str(value or "").split():
            qs = qs.filter(reduce(or_, (Q(**{f"{field}__icontains": word}) for field in self.search_fields)))
        return qs


class FlagFilter(django_filters.ChoiceFilter):
    """A yes-or-no field, in words: `FlagFilter(yes="active", no="deactivated")`."""

    def __init__(self, *, yes: str, no: str, **kwargs: Any) -> None:
        super().__init__(choices=[("yes", yes), ("no", no)], **kwargs)

    def filter(self, qs: QuerySet[Any], value: Any) -> QuerySet[Any]:
        return super().filter(qs, value == "yes" if value else value)


class FilterSet(django_filters.FilterSet):
    """A list's filters. A choice that was not made says what it leaves open: “Any status”."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for each in self.filters.values():
            if not isinstance(each, django_filters.ChoiceFilter | django_filters.ModelChoiceFilter):
                continue
            # A filter of models brings the library's dashes along where it was given nothing.
            if each.extra.get("empty_label", settings.EMPTY_CHOICE_LABEL) == settings.EMPTY_CHOICE_LABEL:
                each.extra["empty_label"] = f"Any {str(each.label).lower()}"
