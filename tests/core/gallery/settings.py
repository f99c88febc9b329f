"""Studio's settings with the gallery's URLs and templates, for a server process that a browser looks at."""

from kaizen_site.settings import *  # noqa: F403  the same settings, but for what follows
from kaizen_site.settings import BASE_DIR, TEMPLATES

ROOT_URLCONF = "tests.core.gallery.urls"
ASGI_APPLICATION = "tests.core.gallery.asgi.application"
TEMPLATES[0]["DIRS"] = [BASE_DIR / "templates", BASE_DIR / "tests" / "core" / "gallery" / "templates"]
