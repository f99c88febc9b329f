"""Pages of execution logs, as gateways send them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.utils import timezone

from contract.admin_api import ExecutionPage, ExecutionRecord, UnreadableRecord
from contract.canonical import digest_of

RELEASE = digest_of("a release")
OTHER_RELEASE = digest_of("another release")


Logged = ExecutionRecord | UnreadableRecord


def record(seq: int, **members: Any) -> Logged:
    """One record, as valid as a gateway's unless a member says otherwise, as Studio reads it."""
    values: dict[str, Any] = {
        "execution_id": f"x{seq:06d}",
        "registration": "translator-production",
        "release_digest": RELEASE,
        "key_id": "abcdefgh01",
        "channel": "api",
        "started_at": timezone.now(),
        "duration_ms": 120.0,
        "status": "succeeded",
        "input_tokens": 10,
        "output_tokens": 5,
    }
    values = {"seq": seq, **values, **members}
    return ExecutionPage.model_validate({"epoch": "e", "next_after": 0, "items": [values]}).items[0]


class Log:
    """A gateway's log in memory, for what a real gateway cannot be made to write."""

    def __init__(self, *records: Logged, epoch: str = "e1", first_seq: int = 1) -> None:
        self.records = list(records)
        self.epoch = epoch
        self.first_seq = first_seq
        self.asked: list[int] = []

    def add(self, count: int, *, at: datetime | None = None, **members: Any) -> None:
        """Append records that differ in their position only."""
        last = self.records[-1].seq if self.records else 0
        moment = {"started_at": at} if at else {}
        self.records += [record(last + number, **moment, **members) for number in range(1, count + 1)]

    def page(self, after: int, limit: int = 1_000) -> ExecutionPage:
        """What the gateway answers."""
        self.asked.append(after)
        items = [each for each in self.records if each.seq > after][:limit]
        return ExecutionPage(
            epoch=self.epoch, first_seq=self.first_seq, items=items, next_after=items[-1].seq if items else after
        )
