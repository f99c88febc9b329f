"""Pages that change something, by calling one command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django_htmx.http import HttpResponseClientRedirect

from apps.core.commands import CommandSpec, registry
from apps.core.errors import Conflict, GatewayUnavailable, Invalid, QuotaExceeded
from apps.core.pages.base import Crumb, ObjectPage, is_partial, require

if TYPE_CHECKING:
    from collections.abc import Callable

# What a person can put right on the form itself; the rest (Denied, NotFound) becomes a page of its own.
Correctable = (Invalid, Conflict, QuotaExceeded, GatewayUnavailable)


@method_decorator([never_cache, sensitive_post_parameters()], name="dispatch")
class CommandPage(ObjectPage):
    """A form whose submission is one command.

    Without a `queryset` the page is about no object and creates one. Form fields become the command's arguments by
    name; the object goes in under the command's `on` name.

    Attributes:
        command: the function from some `commands.py`.
        form_class: a plain Django form; None when there is nothing to fill in.
        submit: label of the button.
        success: message afterwards; `{object}` and `{result}` may stand in it.
        intro: a sentence above the form.
    """

    command: ClassVar[Callable[..., Any]]
    form_class: ClassVar[type[forms.Form] | None] = forms.Form
    submit: ClassVar[str] = "Save"
    success: ClassVar[str] = "Saved."
    intro: ClassVar[str] = ""
    danger: ClassVar[bool] = False
    icon: ClassVar[str] = ""
    narrow = True
    template_name = "generic/command.html"
    partial_template_name: ClassVar[str] = "generic/command_sheet.html"

    @property
    def spec(self) -> CommandSpec:
        """What the registry knows of the command."""
        function = getattr(type(self).command, "__wrapped__", type(self).command)
        return next(spec for spec in registry.values() if spec.function is function)

    def prepare(self) -> None:
        """Who does not see the object gets 404; who sees it but may not change it is told what is missing.

        Raises:
            NotFound, Denied
        """
        if self.queryset is not None:
            super().prepare()
        if self.request.method in ("GET", "HEAD") and not self.spec.open:
            require(self.request, self.spec.action, self.decided_on())

    def decided_on(self) -> Any:
        """The row that the decision is about; None for a whole collection."""
        return self.object if self.spec.on else None

    def get(self, request: HttpRequest, *_: Any, **__: Any) -> HttpResponse:
        return self.form_page(self.get_form())

    def post(self, request: HttpRequest, *_: Any, **__: Any) -> HttpResponse:
        form = self.get_form()
        if form is not None and not form.is_valid():
            return self.form_page(form, status=422)
        try:
            result = self.execute(form)
        except Correctable as error:
            return self.refused(form, error)
        return self.respond(result)

    def execute(self, form: forms.Form | None) -> Any:
        """Call the command once."""
        arguments = self.arguments(form) if form is not None else {}
        if self.spec.on is not None:
            arguments = {self.spec.on: self.object, **arguments}
        return type(self).command(actor=self.actor, **arguments)

    def arguments(self, form: forms.Form) -> dict[str, Any]:
        """The command's arguments besides the actor and the object."""
        return dict(form.cleaned_data)

    def initial(self, shown: Any) -> dict[str, Any]:
        """What the form starts with: the object's attributes of the same names."""
        names = self.form_class.base_fields if self.form_class is not None else {}
        return {name: getattr(shown, name) for name in names if shown is not None and hasattr(shown, name)}

    def get_form(self) -> forms.Form | None:
        if self.form_class is None:
            return None
        # Not `POST or None`: a submission that leaves every field out is a submission all the same.
        submitted = self.request.POST if self.request.method == "POST" else None
        return self.form_class(submitted, **self.form_arguments())

    def form_arguments(self) -> dict[str, Any]:
        """Further arguments of the form: a form that offers choices of the organization takes them here."""
        return {"initial": self.initial(self.object)}

    def refused(
        self, form: forms.Form | None, error: Invalid | Conflict | QuotaExceeded | GatewayUnavailable
    ) -> HttpResponse:
        """Show the form again with what the command said, at the fields that it named."""
        if form is None:
            return self.form_page(None, status=error.status, problem=error.message)
        if not isinstance(error, Invalid) or not error.fields:
            form.add_error(None, error.message)
            return self.form_page(form, status=error.status)
        for name, texts in error.fields.items():
            known = name if name in form.fields else None
            prefix = f"{name}: " if name and known is None else ""
            for text in texts:
                form.add_error(known, f"{prefix}{text}")
        return self.form_page(form, status=error.status)

    def form_page(self, form: forms.Form | None, *, status: int = 200, **extra: Any) -> HttpResponse:
        template = self.partial_template_name if is_partial(self.request) else self.template_name
        return self.show(status=status, template=template, form=form, cancel=self.cancel_url(), **extra)

    def respond(self, result: Any) -> HttpResponse:
        """Answer a success: a message and the next page."""
        messages.success(self.request, self.success.format(object=self.object, result=result))
        return self.go(self.success_url(result))

    def go(self, address: str) -> HttpResponse:
        """Redirect, also out of a dialog."""
        if is_partial(self.request):
            return HttpResponseClientRedirect(address)
        return HttpResponseRedirect(address)

    def show_secret(self, secret: str, *, title: str, warning: str, then: str = "", **extra: Any) -> HttpResponse:
        """Show a secret this once: in the answer to the form itself, because it is stored nowhere to show it later."""
        values = {
            "secret": secret,
            "secret_title": title,
            "warning": warning,
            "then": then or self.cancel_url(),
            **extra,
        }
        template = "generic/secret_sheet.html" if is_partial(self.request) else "generic/secret.html"
        return self.show(template=template, **values)

    def success_url(self, result: Any) -> str:
        """Where to go afterwards: to the result's page, or the object's, or the page above."""
        for each in (result[0] if isinstance(result, tuple) and result else result, self.object):
            if hasattr(each, "get_absolute_url"):
                return str(each.get_absolute_url())
        return self.parent_url()

    def cancel_url(self) -> str:
        if hasattr(self.object, "get_absolute_url"):
            return str(self.object.get_absolute_url())
        return self.parent_url()

    def parent_url(self) -> str:
        return reverse(self.trail[-1][1]) if self.trail else "/"

    def crumbs(self) -> list[Crumb]:
        above = super().crumbs()
        if hasattr(self.object, "get_absolute_url"):
            above.append(Crumb(str(self.object), str(self.object.get_absolute_url())))
        return above


class ConfirmPage(CommandPage):
    """A question before a command that needs no input.

    Attributes:
        question: what will be done, `{object}` in it.
        consequence: what that means, and whether it can be undone.
        typed: name of the object's attribute whose value has to be typed first, for what cannot be undone.
    """

    form_class: ClassVar[type[forms.Form] | None] = None
    question: ClassVar[str] = ""
    consequence: ClassVar[str] = ""
    typed: ClassVar[str] = ""
    template_name = "generic/confirm.html"
    partial_template_name = "generic/confirm_sheet.html"

    def expected(self) -> str:
        """The text that has to be typed, or ""."""
        return str(getattr(self.object, self.typed)) if self.typed else ""

    def context(self) -> dict[str, Any]:
        texts = {"question": self.question.format(object=self.object), "consequence": self.get_consequence()}
        return {**super().context(), **texts, "expected": self.expected()}

    def get_consequence(self) -> str:
        return self.consequence.format(object=self.object)

    def post(self, request: HttpRequest, *_: Any, **__: Any) -> HttpResponse:
        expected = self.expected()
        if expected and request.POST.get("typed", "").strip() != expected:
            return self.form_page(None, status=422, problem=f"Type {expected} to confirm.")
        return super().post(request)


class PostPage(CommandPage):
    """A command behind a button that asks nothing: retry, cancel. Only POST; afterwards back to the object."""

    form_class = None
    http_method_names = ["post", "options"]

    def refused(
        self, form: forms.Form | None, error: Invalid | Conflict | QuotaExceeded | GatewayUnavailable
    ) -> HttpResponse:
        messages.error(self.request, error.message)
        return self.go(self.cancel_url())
