"""What the URL roots answer where no view did: a problem document to programs, a page to people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.views import defaults

from apps.core.middleware import problem_or_page, wants_problem

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    if wants_problem(request):
        return problem_or_page(request, 400, "bad-request", "The request cannot be understood.")
    return defaults.bad_request(request, exception)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    if wants_problem(request):
        return problem_or_page(request, 403, "denied", "Not allowed.")
    return defaults.permission_denied(request, exception)


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if wants_problem(request):
        return problem_or_page(request, 404, "not-found", "There is nothing here. Every address ends with a slash.")
    return defaults.page_not_found(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    if wants_problem(request):
        return problem_or_page(request, 500, "error", "Something went wrong here. It was logged.")
    return defaults.server_error(request)
