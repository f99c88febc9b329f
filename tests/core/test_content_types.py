"""Django's cache of content types in a process that serves many schemas in many threads."""

from __future__ import annotations

import threading

from django.contrib.contenttypes.models import ContentType
from django.db import connections

from apps.accounts.models import User
from apps.core.tenancy import public
from tests.harness.world import Inhabited


def test_a_thread_in_another_schema_changes_nothing_for_this_one(live_organization: Inhabited) -> None:
    """The stock cache is one for all threads: what another schema looked up last would be the answer here."""
    with live_organization.inside():
        ContentType.objects.clear_cache()
        mine = ContentType.objects.get_for_model(User).pk
        looked_up = threading.Event()

        def look_in_public() -> None:
            try:
                with public():
                    kind = ContentType.objects.get_for_model(User)
                    # As if public had another number, which later migrations make likely.
                    kind.pk = kind.id = 9999
                    ContentType.objects._add_to_cache("default", kind)
                    looked_up.set()
            finally:
                connections.close_all()

        thread = threading.Thread(target=look_in_public)
        thread.start()
        thread.join(timeout=20)
        assert looked_up.is_set()
        assert ContentType.objects.get_for_model(User).pk == mine
        with public():
            ContentType.objects.clear_cache()


def test_the_cache_saves_queries_within_a_schema(acme: Inhabited, django_assert_num_queries: object) -> None:
    ContentType.objects.get_for_model(User)
    with django_assert_num_queries(0):  # type: ignore[operator]
        ContentType.objects.get_for_model(User)
