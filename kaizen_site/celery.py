"""The Celery application.

Tasks enter a tenant only through `apps.core.tenancy.tenant`; `tenant-schemas-celery` clears the
schema when a task ends.
"""

import os

from tenant_schemas_celery.app import CeleryApp

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "kaizen_site.settings")

app = CeleryApp("kaizen")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
