"""Settings of the management plane. Every difference between installations is an environment variable.

The variables are described in `docs/operations/configuration.md`. A bad value stops the process at start-up and names
the variable; nothing here falls back to an insecure default in silence.
"""

import ipaddress
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import django_stubs_ext
import environ
from cryptography.fernet import Fernet
from csp.constants import NONCE, NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from kaizen_site import logs

# Lets `ModelAdmin[Organization]` and the like be written as the type checker wants them.
django_stubs_ext.monkeypatch()

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()


def _required(name: str) -> str:
    value: str = env.str(name, default="").strip()
    if not value:
        raise ImproperlyConfigured(f"{name} is not set. `make up` sets it; see docs/operations/configuration.md.")
    return value


def _database(name: str) -> dict[str, Any]:
    parsed = urlsplit(_required(name))
    if parsed.scheme not in {"postgres", "postgresql"}:
        raise ImproperlyConfigured(
            f"{name} must be a postgresql:// address, not {parsed.scheme or 'an empty scheme'}://"
        )
    config: dict[str, Any] = env.db_url(name)
    config["ENGINE"] = "django_tenants.postgresql_backend"
    config.setdefault("OPTIONS", {})["application_name"] = f"kaizen-{Path(sys.argv[0]).name}"[:60]
    return config


# Identity of the installation ---------------------------------------------------------------------------------------
SECRET_KEY = _required("SECRET_KEY")
DEBUG = False
KAIZEN_VERSION = "0.1.0"
KAIZEN_BASE_DOMAIN = env.str("KAIZEN_BASE_DOMAIN", default="localhost")
KAIZEN_PUBLIC_URL = env.str("KAIZEN_PUBLIC_URL", default="http://localhost:8000").rstrip("/")
KAIZEN_STATE_DIR = Path(env.str("KAIZEN_STATE_DIR", default=str(BASE_DIR / ".kaizen")))
KAIZEN_ENCRYPTION_KEYS = [key.strip() for key in _required("KAIZEN_ENCRYPTION_KEYS").split(",") if key.strip()]
for _key in KAIZEN_ENCRYPTION_KEYS:
    try:
        Fernet(_key)
    except ValueError as error:
        raise ImproperlyConfigured(
            "KAIZEN_ENCRYPTION_KEYS holds a value that is no Fernet key (32 bytes, base64url)."
        ) from error
try:
    KAIZEN_ALLOWED_GATEWAY_NETWORKS = [
        ipaddress.ip_network(part.strip())
        for part in env.str("KAIZEN_ALLOWED_GATEWAY_NETWORKS", default="").split(",")
        if part.strip()
    ]
except ValueError as error:
    raise ImproperlyConfigured(f"KAIZEN_ALLOWED_GATEWAY_NETWORKS: {error}") from error
# What Studio shows to gateways that demand a client's certificate, and whom it trusts besides the public authorities.
KAIZEN_GATEWAY_CLIENT_CERT = env.str("KAIZEN_GATEWAY_CLIENT_CERT", default="").strip()
KAIZEN_GATEWAY_CLIENT_KEY = env.str("KAIZEN_GATEWAY_CLIENT_KEY", default="").strip()
KAIZEN_GATEWAY_CA = env.str("KAIZEN_GATEWAY_CA", default="").strip()
if bool(KAIZEN_GATEWAY_CLIENT_CERT) != bool(KAIZEN_GATEWAY_CLIENT_KEY):
    raise ImproperlyConfigured("KAIZEN_GATEWAY_CLIENT_CERT and KAIZEN_GATEWAY_CLIENT_KEY go together; one is missing.")
for _variable in ("KAIZEN_GATEWAY_CLIENT_CERT", "KAIZEN_GATEWAY_CLIENT_KEY", "KAIZEN_GATEWAY_CA"):
    if globals()[_variable] and not Path(globals()[_variable]).is_file():
        raise ImproperlyConfigured(f"{_variable} names no file: {globals()[_variable]}")

# The Domain table is the list of hosts that exist (TenantMiddleware answers 404 for any other), so the static list
# would only be a second, staler copy of it.
ALLOWED_HOSTS = ["*"]

# Applications and tenancy -------------------------------------------------------------------------------------------
# Users, sessions and permissions live in every tenant's schema and in `public` (operators), never shared.
_BOTH = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "django.contrib.messages",
    "allauth",
    "allauth.account",
    "guardian",
    "apps.core",
    "apps.accounts",
    "apps.audit",
    "apps.access",
]
SHARED_APPS = [
    "django_tenants",
    "apps.tenants",
    "apps.accounts.admin_config.OperatorsAdminConfig",
    "django.contrib.staticfiles",
    "pgtrigger",
    *_BOTH,
]
TENANT_APPS = [
    *_BOTH,
    "apps.agents",
    "apps.gateways",
    "apps.telemetry",
    "apps.deployments",
    "apps.home",
]
_LIBRARIES = [
    "daphne",
    "channels",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_filters",
    "django_tables2",
    "django_htmx",
    "django_structlog",
    "csp",
]
INSTALLED_APPS = ["daphne", *SHARED_APPS]
INSTALLED_APPS += [app for app in [*TENANT_APPS, *_LIBRARIES] if app not in INSTALLED_APPS]

TENANT_MODEL = "tenants.Organization"
TENANT_DOMAIN_MODEL = "tenants.Domain"
TENANT_LIMIT_SET_CALLS = True
DATABASE_ROUTERS = ["django_tenants.routers.TenantSyncRouter"]
PUBLIC_SCHEMA_URLCONF = "kaizen_site.urls_public"
ROOT_URLCONF = "kaizen_site.urls_tenant"
TENANT_TEMPLATE_SCHEMA = "kaizen_template"

DATABASES = {"default": _database("DATABASE_URL")}
if env.str("DATABASE_OWNER_URL", default=""):
    # Only processes that migrate or provision are given this variable.
    DATABASES["owner"] = _database("DATABASE_OWNER_URL")
if env.bool("KAIZEN_DATABASE_POOL", default=False):
    # For the web process: requests run in many threads, where CONN_MAX_AGE would keep one connection a thread.
    # `max_lifetime` because a backend's memory grows with the schemas that it touched.
    DATABASES["default"]["OPTIONS"]["pool"] = {"min_size": 1, "max_size": 20, "timeout": 10, "max_lifetime": 900}
    DATABASES["default"]["CONN_MAX_AGE"] = 0
else:
    DATABASES["default"]["CONN_MAX_AGE"] = 300
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
SILENCED_SYSTEM_CHECKS = [
    "commands.E001",  # django-pgtrigger and django-tenants both extend `migrate`; measured to work together
    "guardian.W001",  # the object permission backend is `apps.access`, not guardian's own
]

# Redis protocol: cache, channel layer, broker -----------------------------------------------------------------------
REDIS_URL = _required("REDIS_URL")
CACHES = {
    "default": {
        "BACKEND": "apps.core.cache.ResilientRedisCache",
        "LOCATION": REDIS_URL,
        "OPTIONS": {"socket_connect_timeout": 1, "socket_timeout": 2},
        "KEY_FUNCTION": "django_tenants.cache.make_key",
        "REVERSE_KEY_FUNCTION": "django_tenants.cache.reverse_key",
    }
}
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.core.RedisChannelLayer",
        # redis-py 8 times a socket out after 5 s, which is as long as the layer's blocking pop: idle sockets would die.
        "CONFIG": {
            "hosts": [{"address": REDIS_URL, "socket_timeout": None, "socket_connect_timeout": 1}],
            "prefix": "kaizen",
        },
    }
}
CELERY_BROKER_URL = REDIS_URL
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_TASK_SOFT_TIME_LIMIT = 60
CELERY_TASK_TIME_LIMIT = 90
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# A hint that cannot be sent must not hold up the request that would send it: the scanner finds the work anyway.
CELERY_BROKER_TRANSPORT_OPTIONS = {"socket_connect_timeout": 1, "socket_timeout": 5, "max_retries": 1}
CELERY_TASK_PUBLISH_RETRY = False
# Only workers with the owner's database role consume this queue.
CELERY_TASK_ROUTES = {"accounts.found_pending": {"queue": "owner"}}
CELERY_BEAT_SCHEDULE = {
    "found-pending": {"task": "accounts.found_pending", "schedule": 10.0},
    "rebuild-due-work": {"task": "gateways.rebuild_due_work", "schedule": 300.0},
    "prune-executions": {"task": "telemetry.prune", "schedule": 3600.0},
}

# Figures ------------------------------------------------------------------------------------------------------------
KAIZEN_EXECUTION_RETENTION_DAYS = env.int("KAIZEN_EXECUTION_RETENTION_DAYS", default=30)
if KAIZEN_EXECUTION_RETENTION_DAYS < 1:
    raise ImproperlyConfigured("KAIZEN_EXECUTION_RETENTION_DAYS must be at least 1.")
# Seconds after which a push or poll of a process that died is done again by another one; living ones renew theirs.
KAIZEN_PUSH_LEASE_S = env.float("KAIZEN_PUSH_LEASE_S", default=5.0)
if not 1 <= KAIZEN_PUSH_LEASE_S <= 60:
    raise ImproperlyConfigured("KAIZEN_PUSH_LEASE_S must be from 1 to 60.")

# HTTP ---------------------------------------------------------------------------------------------------------------
ASGI_APPLICATION = "kaizen_site.asgi.application"
KAIZEN_HEALTH_PATH = "/healthz"  # answered on every host
MIDDLEWARE = [
    # First those whose headers belong on every answer, also on that to an unknown host.
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "apps.core.middleware.BodyLimitMiddleware",
    "apps.tenants.middleware.TenantMiddleware",
    "apps.core.request_log.RequestLog",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "apps.core.middleware.PathMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "apps.accounts.middleware.ActorMiddleware",
    "apps.core.middleware.ErrorPageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "csp.context_processors.nonce",
            ],
        },
    }
]
STATIC_URL = "/static/"
# Where `collectstatic` puts files for a web server or CDN that serves them itself; nothing here needs it.
STATIC_ROOT = env.str("KAIZEN_STATIC_ROOT", default="") or None
STATICFILES_DIRS = [BASE_DIR / "static"]
# Finders serve files straight from `static/`: an installation needs no collectstatic to show a page.
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = False

_secure = KAIZEN_PUBLIC_URL.startswith("https://")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _secure
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
SECURE_HSTS_SECONDS = 31_536_000 if _secure else 0
KAIZEN_BEHIND_PROXY = env.bool("KAIZEN_BEHIND_PROXY", default=False)
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if KAIZEN_BEHIND_PROXY else None
X_FRAME_OPTIONS = "DENY"
DATA_UPLOAD_MAX_MEMORY_SIZE = 2 * 1024 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 500


CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF, NONCE],
        "style-src": [SELF, NONCE],
        "img-src": [SELF, "data:"],
        "font-src": [SELF, "data:"],
        "connect-src": [SELF],
        "object-src": [NONE],
        "base-uri": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    }
}

# Identity -----------------------------------------------------------------------------------------------------------
AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "allauth.account.auth_backends.AuthenticationBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
ANONYMOUS_USER_NAME = None  # guardian: nobody is a member without having been made one
GUARDIAN_RAISE_403 = False
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
ACCOUNT_ADAPTER = "apps.accounts.adapter.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_EMAIL_VERIFICATION = "mandatory"
# Links carry a primary key that another schema could know; a code only means something in the session that asked.
ACCOUNT_EMAIL_VERIFICATION_BY_CODE_ENABLED = True
ACCOUNT_PREVENT_ENUMERATION = True
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_LOGOUT_ON_GET = False
ACCOUNT_RATE_LIMITS = {"login": "60/m/ip", "login_failed": "10/m/ip,5/5m/key"}
ACCOUNT_DEFAULT_HTTP_PROTOCOL = "https" if _secure else "http"

# Mail ---------------------------------------------------------------------------------------------------------------
DEFAULT_FROM_EMAIL = env.str("KAIZEN_FROM_EMAIL", default=f"Kaizen Studio <studio@{KAIZEN_BASE_DOMAIN}>")
KAIZEN_EMBEDDED_MAILBOX = not env.str("EMAIL_URL", default="")
if KAIZEN_EMBEDDED_MAILBOX:
    EMAIL_BACKEND = "apps.tenants.mailbox.MailboxBackend"
else:
    vars().update(env.email_url("EMAIL_URL"))

# API ----------------------------------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "apps.accounts.authentication.TokenAuthentication",
        "apps.accounts.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["apps.core.parsers.JSONParser"],
    "DEFAULT_PAGINATION_CLASS": "apps.core.pagination.CursorPagination",
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "DEFAULT_SCHEMA_CLASS": "apps.core.openapi.Schema",
    "DEFAULT_THROTTLE_CLASSES": ["apps.core.throttling.ActorThrottle"],
    "DEFAULT_THROTTLE_RATES": {"actor": env.str("KAIZEN_API_RATE", default="1200/min")},
    "EXCEPTION_HANDLER": "apps.core.problems.problem_handler",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Kaizen Studio API",
    "DESCRIPTION": "The management plane: what agents run, who may touch them, and how they are governed.",
    "VERSION": "v1",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.IsAuthenticated"],
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_NAME_OVERRIDES": {
        "AgentState": "apps.agents.serializers.STATES",
        "RolloutKind": "apps.deployments.models.Rollout.Kind",
        "RolloutState": "apps.deployments.models.Rollout.State",
        "RolloutStepKind": "apps.deployments.models.RolloutStep.Kind",
    },
}
DJANGO_TABLES2_TEMPLATE = "generic/table.html"
FORM_RENDERER = "apps.core.forms.TablerRenderer"

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False

LOGGING = logs.LOGGING
logs.configure_structlog()
