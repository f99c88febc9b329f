"""Wiring of the management plane: settings, URL roots, ASGI application, Celery application."""

from kaizen_site.celery import app as celery_app

__all__ = ["celery_app"]
