"""The public site: where to find one's organization, and the embedded mailbox for operators."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.admin.views.decorators import staff_member_required
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from apps.tenants.models import Domain, MailboxMessage

_PAGE = 50
_SLUG = re.compile(r"[a-z0-9-]{1,40}")


@require_http_methods(["GET", "HEAD"])
def landing(request: HttpRequest) -> HttpResponse:
    """The start page of the bare host."""
    return _landing(request)


@require_POST
def go(request: HttpRequest) -> HttpResponse:
    """Lead to the organization whose address was typed; say so when there is none."""
    slug = request.POST.get("organization", "").strip().lower()[:100]
    slug = slug.removesuffix(f".{settings.KAIZEN_BASE_DOMAIN}")
    host = f"{slug}.{settings.KAIZEN_BASE_DOMAIN}"
    # Only a host in our own table is redirected to, so that the form cannot be made to lead elsewhere.
    hosts = Domain.objects.exclude(tenant__schema_name="public")
    domain = hosts.filter(domain=host).first() if _SLUG.fullmatch(slug) else None
    if domain is None:
        problem = "Type the name of your organization." if not slug else "There is no organization at this address."
        return _landing(request, problem=problem, organization=slug, status=404 if slug else 422)
    site = urlsplit(settings.KAIZEN_PUBLIC_URL)
    port = f":{site.port}" if site.port else ""
    return redirect(f"{site.scheme}://{domain.domain}{port}/")


def _landing(request: HttpRequest, *, status: int = 200, problem: str = "", organization: str = "") -> HttpResponse:
    values = {
        "problem": problem,
        "organization": organization,
        "base_domain": settings.KAIZEN_BASE_DOMAIN,
        "mailbox": reverse("public:mailbox") if settings.KAIZEN_EMBEDDED_MAILBOX else "",
    }
    return render(request, "public/landing.html", values, status=status)


@require_GET
@staff_member_required
def mailbox(request: HttpRequest) -> HttpResponse:
    """Mails that would have been sent, newest first. Exists only where no mail server is configured."""
    _require_mailbox()
    page = Paginator(MailboxMessage.objects.all(), _PAGE).get_page(request.GET.get("page"))
    return render(request, "public/mailbox.html", {"messages_page": page})


@require_GET
@staff_member_required
def message(request: HttpRequest, pk: int) -> HttpResponse:
    """One mail."""
    _require_mailbox()
    return render(request, "public/message.html", {"mail": get_object_or_404(MailboxMessage, pk=pk)})


def _require_mailbox() -> None:
    if not settings.KAIZEN_EMBEDDED_MAILBOX:
        raise Http404
