"""Edges of the HTTP surface: size of bodies, and errors turned into a page or a problem document."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.middleware.common import CommonMiddleware
from django.shortcuts import render

from apps.core.errors import Denied, StudioError, Unauthenticated
from apps.core.problems import problem_body

if TYPE_CHECKING:
    from collections.abc import Callable

_PROBLEM = "application/problem+json"


def wants_problem(request: HttpRequest) -> bool:
    """Whether the caller is a program that reads problem documents rather than pages."""
    return request.path.startswith("/api/")


def problem_or_page(
    request: HttpRequest, status: int, code: str, message: str, error: StudioError | None = None
) -> HttpResponse:
    """One error as the caller can read it."""
    if wants_problem(request):
        return JsonResponse(problem_body(status, code, message, error), status=status, content_type=_PROBLEM)
    context = {"status": status, "code": code, "message": message, "error": error}
    if isinstance(error, Denied):
        context["decision"] = error.decision
    return render(
        request, [f"errors/{code}.html", f"errors/{status}.html", "errors/error.html"], context, status=status
    )


class BodyLimitMiddleware:
    """Refuse a body that declares itself too large before anything reads it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        declared = request.META.get("CONTENT_LENGTH") or "0"
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        if not (declared.isascii() and declared.isdigit()):
            return problem_or_page(request, 400, "bad-request", "Content-Length is not a number.")
        if int(declared) > limit:
            return problem_or_page(request, 413, "too-large", f"The body is larger than {limit // 1024} KiB.")
        return self.get_response(request)


class PathMiddleware(CommonMiddleware):
    """Django's redirect to the address with a slash, for reading only: a redirected POST would arrive without its body.

    A path with a NUL character leads nowhere; PostgreSQL would refuse to look for it.
    """

    def process_request(self, request: HttpRequest) -> HttpResponse | None:  # type: ignore[override]  # wider in truth
        if "\x00" in request.path:
            return problem_or_page(request, 404, "not-found", "There is nothing at this address.")
        return super().process_request(request)

    def should_redirect_with_slash(self, request: HttpRequest) -> bool:
        return request.method in ("GET", "HEAD") and super().should_redirect_with_slash(request)


class ErrorPageMiddleware:
    """Turn our errors into an answer; the innermost middleware, so that the outer ones see an ordinary response."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if not isinstance(exception, StudioError):
            return None
        if isinstance(exception, Unauthenticated) and not wants_problem(request):
            from django.contrib.auth.views import redirect_to_login

            return redirect_to_login(request.get_full_path())
        return problem_or_page(request, exception.status, exception.code, exception.message, exception)
