"""Template tags of the dashboard: `{% load ui %}`."""
