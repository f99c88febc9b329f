"""The gallery's URLs and templates in place of an organization's own."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from tests.harness.world import Inhabited

GALLERY = Path(__file__).parent / "gallery"


@pytest.fixture
def gallery(settings: Any, acme: Inhabited) -> Inhabited:
    """acme, whose pages are those of the gallery."""
    templates = deepcopy(settings.TEMPLATES)
    templates[0]["DIRS"] = [*templates[0]["DIRS"], GALLERY / "templates"]
    settings.TEMPLATES = templates
    settings.ROOT_URLCONF = "tests.core.gallery.urls"
    return acme
