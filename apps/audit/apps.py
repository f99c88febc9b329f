"""App configuration of `audit`: fills the port through which commands are recorded."""

from django.apps import AppConfig


class AuditConfig(AppConfig):
    name = "apps.audit"
    label = "audit"

    def ready(self) -> None:
        from apps.audit.chain import record
        from apps.core.ports import ports

        ports.record = record
