"""App configuration of `access`: fills the ports through which commands and pages ask."""

from django.apps import AppConfig


class AccessConfig(AppConfig):
    name = "apps.access"
    label = "access"

    def ready(self) -> None:
        from apps.access.decide import decide, visible
        from apps.access.sync import sync, version
        from apps.core.ports import ports
        from apps.tenants.provisioning import content_updates, content_versions

        ports.authorize = decide
        ports.visible = visible
        content_versions.append(version)
        content_updates.append(sync)
