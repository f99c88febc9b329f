"""`Idempotency-Key`: the same POST sent twice has one effect and gets one answer."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, transaction
from django.utils import timezone
from rest_framework.response import Response

from apps.core.commands import completing
from apps.core.errors import Conflict, Invalid
from apps.core.models import IdempotencyRecord
from apps.core.requests import actor_of
from contract.canonical import digest_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from rest_framework.request import Request

_KEPT_FOR = timedelta(hours=24)
_ABANDONED_AFTER = timedelta(minutes=2)
_HEADER = "Idempotency-Key"


def run_once(request: Request, act: Callable[[], Response], *, secret_fields: frozenset[str]) -> Response:
    """Answer a POST, or repeat the answer that the same key got before.

    The record is completed inside the command's own transaction: after a crash the effect and the record are both
    there or both not. `secret_fields` are blanked in what is kept, because a secret is shown once and stored nowhere.

    Raises:
        Invalid: the key is too long.
        Conflict: the key was used for another request, or its first request is still under way.
    """
    key = request.headers.get(_HEADER)
    if not key:
        return act()
    if len(key) > 255:
        raise Invalid(f"{_HEADER} is longer than 255 characters.")
    actor = actor_of(request._request)
    digest = digest_of(request.data)
    path = f"{request.method} {request.path}"[:500]
    record = _claim(key, actor.id, path, digest)
    if record.status is not None:
        return _replay(record)

    def complete(_result: Any) -> None:
        # 200 stands until the body is known; a crash in between replays as an empty success, not as a second effect.
        IdempotencyRecord.objects.filter(pk=record.pk).update(status=200)

    try:
        with completing(complete):
            response = act()
    except BaseException:
        # Nothing happened (the transaction is gone), so the key is free for a corrected request.
        IdempotencyRecord.objects.filter(pk=record.pk, status=None).delete()
        raise
    body = {name: (None if name in secret_fields else value) for name, value in (response.data or {}).items()}
    IdempotencyRecord.objects.filter(pk=record.pk).update(status=response.status_code, body=_as_json(body))
    return response


def _claim(key: str, actor_id: str, path: str, digest: str) -> IdempotencyRecord:
    now = timezone.now()
    stale = IdempotencyRecord.objects.filter(key=key, actor_id=actor_id)
    stale.filter(created_at__lt=now - _KEPT_FOR).delete()
    stale.filter(status=None, created_at__lt=now - _ABANDONED_AFTER).delete()
    try:
        with transaction.atomic():
            return IdempotencyRecord.objects.create(key=key, actor_id=actor_id, method_path=path, request_digest=digest)
    except IntegrityError:
        record = IdempotencyRecord.objects.get(key=key, actor_id=actor_id)
    if (record.method_path, record.request_digest) != (path, digest):
        raise Conflict(f"This {_HEADER} was used for another request.")
    if record.status is None:
        raise Conflict("The first request with this key is still under way; ask again shortly.")
    return record


def _replay(record: IdempotencyRecord) -> Response:
    return Response(record.body, status=record.status, headers={"Idempotent-Replayed": "true"})


def _as_json(body: dict[str, Any]) -> Any:
    import json

    from rest_framework.utils.encoders import JSONEncoder

    return json.loads(json.dumps(body, cls=JSONEncoder))
