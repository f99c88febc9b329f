"""App configuration of `core`: loads the rooms of every app that fill a registry."""

from importlib import import_module

from django.apps import AppConfig, apps
from django.utils.module_loading import module_has_submodule

_REGISTERING_ROOMS = ("commands", "live", "panels")


class CoreConfig(AppConfig):
    name = "apps.core"
    label = "core"

    def ready(self) -> None:
        from apps.core.content_types import keep_apart_by_schema

        keep_apart_by_schema()
        # The registries must be whole in every process: permissions and roles derive from the commands. Django's
        # autodiscover_modules would also import rooms of the same name in libraries.
        for config in apps.get_app_configs():
            for room in _REGISTERING_ROOMS:
                if config.name.startswith("apps.") and module_has_submodule(config.module, room):
                    import_module(f"{config.name}.{room}")
