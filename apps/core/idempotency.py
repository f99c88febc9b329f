"""`Idempotency-Key`: the same POST sent twice has one effect and gets one answer."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, transaction
from django.db.models import Model
from django.utils import timezone
from rest_framework.response import Response
from rest_framework.utils.encoders import JSONEncoder

from apps.core.commands import completing
from apps.core.errors import Conflict, Invalid
from apps.core.models import IdempotencyRecord
from apps.core.requests import actor_of
from apps.core.resources import type_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from rest_framework.request import Request

_KEPT_FOR = timedelta(hours=24)
_ABANDONED_AFTER = timedelta(minutes=2)
_PRUNED_AT_ONCE = 100
_HEADER = "Idempotency-Key"
_LONGEST_KEY = 255
# The command has committed and its answer is not kept yet (102 is HTTP's "processing"; nobody is answered with it).
_COMMITTED = 102


def run_once(request: Request, act: Callable[[], Response], *, secret_fields: frozenset[str]) -> Response:
    """Answer a POST, or repeat the answer that the same key got before.

    The record is completed inside the command's own transaction: after a crash the effect and the record are both
    there or both not. `secret_fields` are blanked in what is kept, because a secret is shown once and stored nowhere.

    Raises:
        Invalid: the key is too long, or holds something else than printable ASCII.
        Conflict: the key was used for another request, or its first request is still under way.
    """
    key = request.headers.get(_HEADER)
    if not key:
        return act()
    if len(key) > _LONGEST_KEY or not (key.isascii() and key.isprintable()):
        raise Invalid(f"{_HEADER} is at most {_LONGEST_KEY} printable ASCII characters.")
    record = _claim(key, actor_of(request._request).id, _path(request), _digest(request.data))
    if record.status is not None:
        status = 200 if record.status == _COMMITTED else record.status
        return Response(json.loads(record.body or "null"), status=status, headers={"Idempotent-Replayed": "true"})
    try:
        with completing(lambda result: _complete(record, result)):
            response = act()
    except BaseException:
        # Nothing happened (the transaction is gone), so the key is free for a corrected request.
        IdempotencyRecord.objects.filter(pk=record.pk, status=None).delete()
        raise
    IdempotencyRecord.objects.filter(pk=record.pk).update(
        status=response.status_code, body=_kept(response.data, secret_fields)
    )
    return response


def _complete(record: IdempotencyRecord, result: Any) -> None:
    """Part of the command's transaction. If a crash follows, what came into being stands for the answer.

    Raises:
        Conflict: the request took so long that its claim was given to another with the same key.
    """
    made = result[0] if isinstance(result, tuple) and result else result
    reference = json.dumps({"type": type_of(made), "id": str(made.pk)} if isinstance(made, Model) else None)
    claimed = IdempotencyRecord.objects.filter(pk=record.pk, status=None)
    if not claimed.update(status=_COMMITTED, body=reference):
        raise Conflict(f"Another request with this {_HEADER} was faster.")


def _claim(key: str, actor_id: str, path: str, digest: str) -> IdempotencyRecord:
    now = timezone.now()
    _prune(now)
    mine = IdempotencyRecord.objects.filter(key=key, actor_id=actor_id)
    mine.filter(created_at__lt=now - _KEPT_FOR).delete()
    mine.filter(status=None, created_at__lt=now - _ABANDONED_AFTER).delete()
    try:
        with transaction.atomic():
            return IdempotencyRecord.objects.create(key=key, actor_id=actor_id, method_path=path, request_digest=digest)
    except IntegrityError:
        record = mine.first()
    if record is not None and (record.method_path, record.request_digest) != (path, digest):
        raise Conflict(f"This {_HEADER} was used for another request.")
    if record is None or (record.status in (None, _COMMITTED) and record.created_at > now - _ABANDONED_AFTER):
        raise Conflict("The first request with this key is still under way; ask again shortly.")
    return record


def _prune(now: datetime) -> None:
    """Drop a few outdated records at each use, so that the table needs no task of its own."""
    outdated = IdempotencyRecord.objects.filter(created_at__lt=now - _KEPT_FOR).order_by("created_at")
    with transaction.atomic():
        keys = outdated.select_for_update(skip_locked=True).values_list("pk", flat=True)[:_PRUNED_AT_ONCE]
        IdempotencyRecord.objects.filter(pk__in=list(keys)).delete()


def _path(request: Request) -> str:
    return f"{request.method} {request.get_full_path()}"[:500]


def _digest(body: Any) -> str:
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _kept(body: Any, secret_fields: frozenset[str]) -> str:
    """The answer as JSON text, without the secrets that only the first answer holds."""
    if isinstance(body, dict):
        body = {name: (None if name in secret_fields else value) for name, value in body.items()}
    return json.dumps(body, cls=JSONEncoder)
