"""One file of settings, read from the environment from top to bottom.

Every secret may also come from a file named in ``NAME_FILE``. A development run is
what ``manage.py up`` starts (``LABELER_MODE=embedded``); anything else is production
and refuses to start without a secret key, with DEBUG or with default passwords.
"""

from __future__ import annotations

import os
from pathlib import Path

import environ
from corsheaders.defaults import default_headers
from django.core.exceptions import ImproperlyConfigured
from kombu import Queue

from labeler.environment import Environment

BASE_DIR = Path(__file__).resolve().parent.parent
env = Environment()

# Who runs this ------------------------------------------------------------------------

MODE = env.choice("LABELER_MODE", ("production", "embedded", "test"), default="production")
DEBUG = env.flag("LABELER_DEBUG", default=False)
SECRET_KEY = env.secret("LABELER_SECRET_KEY")
ALLOWED_HOSTS = env.items("LABELER_ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.items("LABELER_TRUSTED_ORIGINS", default=[])
CORS_ALLOWED_ORIGINS = env.items("LABELER_CORS_ORIGINS", default=[])
CORS_ALLOW_CREDENTIALS = True
CORS_ALLOW_HEADERS = [*default_headers, "idempotency-key"]
CORS_EXPOSE_HEADERS = ["X-Total-Count", "Retry-After", "Location"]
DATA_DIR = Path(env.text("LABELER_DATA", default=str(BASE_DIR / "var")))

# What it is made of -------------------------------------------------------------------

INSTALLED_APPS = [
    "annotations",
    "versions",
    "exports",
    "labeler",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_celery_beat",
    "corsheaders",
    "labeler.staff.StaffConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]

MIDDLEWARE = [
    "labeler.tracing.traced",
    "labeler.health.health_first",
    "labeler.browser_policy.browser_policy",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    # Last, as its page shows who is signed in.
    "labeler.errors.no_nul_in_pages",
]

ROOT_URLCONF = "labeler.urls"
WSGI_APPLICATION = "labeler.wsgi.application"
AUTH_USER_MODEL = "annotations.User"
APPEND_SLASH = False
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "labeler" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "django.template.context_processors.i18n",
            ],
        },
    },
]

CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    # Parts of pages, in a cache of their own: they would push out of the other what took longer to count.
    "template_fragments": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "fragments"},
}

# Databases: ours, and the platform's which PostgreSQL itself keeps us from writing -----


# A host or a network that vanishes says no goodbye. Who is silent for a minute is asked three times in the next one,
# and then given up: by us, and by PostgreSQL, which frees what that session had locked (versions/alone.py). Not sooner:
# who does not take what is sent to them for as long is given up, too, and may only be busy.
KEEPALIVES = {"keepalives": 1, "keepalives_idle": 60, "keepalives_interval": 20, "keepalives_count": 3,
              "tcp_user_timeout": 120_000}  # fmt: skip
SERVER_KEEPALIVES = (
    "-c tcp_keepalives_idle=60 -c tcp_keepalives_interval=20 -c tcp_keepalives_count=3 -c tcp_user_timeout=120000"
)


def _database(url: str, *words: str) -> dict:
    config = environ.Env.db_url_config(url)
    config["CONN_MAX_AGE"] = 60
    config["CONN_HEALTH_CHECKS"] = True
    own = config.get("OPTIONS", {})
    # Of a setting said twice PostgreSQL takes the last: an address may have keepalives of its own.
    told = " ".join([SERVER_KEEPALIVES, *filter(None, [own.get("options")]), *words])
    config["OPTIONS"] = {**KEEPALIVES, **own, "connect_timeout": 5, "options": told}
    return config


DATABASES = {
    # Only the tests may empty tables: PostgreSQL refuses TRUNCATE of what must be kept to everyone else.
    "default": _database(env.secret("DATABASE_URL"), *(["-c labeler.allow_truncate=yes"] if MODE == "test" else [])),
    "platform": _database(env.secret("PLATFORM_DATABASE_URL"), "-c default_transaction_read_only=on"),
}
# A new connection plans anew what our triggers ask, and its first saves are the slow ones.
DATABASES["default"]["CONN_MAX_AGE"] = 600
DATABASE_ROUTERS = ["labeler.routers.PlatformRouter"]

# Stores: the platform's images and official files, and our own saves and versions ------

STORAGES = {
    "labeler": env.store("LABELER_STORE", alias="labeler"),
    "platform": env.store("PLATFORM_STORE", alias="platform"),
    "default": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": DATA_DIR / "media"},
    },
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedStaticFilesStorage"},
}
LABELER_OFFICIAL_PREFIX = env.text("LABELER_OFFICIAL_PREFIX", default="datasets/")
LABELER_SCRATCH = Path(env.text("LABELER_SCRATCH", default=str(DATA_DIR / "scratch")))

# Long work ----------------------------------------------------------------------------

CELERY_BROKER_URL = env.secret("REDIS_URL")
CELERY_BROKER_CONNECTION_TIMEOUT = 2
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "socket_timeout": 2,
    "socket_connect_timeout": 2,
    "retry_on_timeout": False,
    # Sending tries twice and does not sleep in between: a request waits for it, and the sweep needs no message.
    "max_retries": 1,
    "interval_start": 0,
    "visibility_timeout": 3600,
}
# Workers take from both in turn: where a team confirms all day, its saves are half of what is done and no more.
CELERY_TASK_QUEUES = [Queue("celery"), Queue("saves", routing_key="saves")]
CELERY_TASK_ROUTES = {"versions.tasks.save_if_due": {"queue": "saves"}}
CELERY_TASK_PUBLISH_RETRY = False
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
CELERY_BEAT_MAX_LOOP_INTERVAL = 5
CELERY_TIMEZONE = "UTC"

LABELER_SWEEP_SECONDS = env.number("LABELER_SWEEP_SECONDS", default=60)
LABELER_TINY_PIXELS = env.number("LABELER_TINY_PIXELS", default=2)
LABELER_SAVE_IMAGES = env.number("LABELER_SAVE_IMAGES", default=10)
LABELER_SAVE_SECONDS = env.number("LABELER_SAVE_SECONDS", default=1800)
LABELER_KEEP_SAVES = env.number("LABELER_KEEP_SAVES", default=20)
LABELER_KEEP_SAVE_DAYS = env.number("LABELER_KEEP_SAVE_DAYS", default=30)
LABELER_JOURNAL_SECONDS = env.number("LABELER_JOURNAL_SECONDS", default=5)
LABELER_KEEP_DUMP_DAYS = env.number("LABELER_KEEP_DUMP_DAYS", default=14)
LABELER_WAIT_SECONDS = env.number("LABELER_WAIT_SECONDS", default=20)
LABELER_LINK_SECONDS = env.number("LABELER_LINK_SECONDS", default=7 * 24 * 3600)
# Processes that render beside a job with much to render; 0: a job renders alone, as it does anyway where there is but
# one processor for us.
PROCESSORS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
LABELER_RENDERERS = env.number("LABELER_RENDERERS", default=2 if PROCESSORS > 1 else 0)
LABELER_EXPORT_DAYS = env.number("LABELER_EXPORT_DAYS", default=7)

# HTTP ---------------------------------------------------------------------------------

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "annotations.tokens.BearerAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["annotations.parsing.StrictJSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "labeler.errors.handle",
    # ``?format=`` is the format of a download, not of the answer.
    "URL_FORMAT_OVERRIDE": None,
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
    "DEFAULT_THROTTLE_CLASSES": ["annotations.throttles.CountedThrottle"],
    # Of an address for sign-in and the closing page's beacon, of a person for the others.
    "DEFAULT_THROTTLE_RATES": {
        "login": env.rate("LABELER_LOGIN_RATE", default="20/min"),
        "beacon": env.rate("LABELER_BEACON_RATE", default="120/min"),
        "import": env.rate("LABELER_IMPORT_RATE", default="120/hour"),
        "export": env.rate("LABELER_EXPORT_RATE", default="240/hour"),
    },
    # Whose word on the client's address counts: the proxy's, where there is one; never the client's own.
    "NUM_PROXIES": 1 if env.flag("LABELER_BEHIND_PROXY", default=False) else 0,
    "DATETIME_FORMAT": "%Y-%m-%dT%H:%M:%S.%fZ",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Labeler",
    "DESCRIPTION": "Annotations that are never lost, versions that never change, files that are always complete.",
    "VERSION": "1.0.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SCHEMA_PATH_PREFIX": r"/api/v1",
    "PREPROCESSING_HOOKS": ["labeler.openapi.without_trailing_slashes"],
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "labeler.openapi.with_errors",
    ],
    "ENUM_NAME_OVERRIDES": {
        "FormatEnum": "versions.publishing.ALL_FORMATS",
        "TaskEnum": "annotations.states.TaskType",
        "ProgressEnum": "annotations.states.Progress",
        "StateEnum": "annotations.states.AnnotationState",
        "RoleEnum": "annotations.states.Role",
        "PublishStateEnum": "versions.states.PublishState",
        "PlatformStateEnum": "versions.states.PlatformState",
        "JobStateEnum": "versions.states.JobState",
        "ProjectStatusEnum": "annotations.states.ProjectStatus",
        "VersionTypeEnum": "versions.states.VersionType",
        "SaveTriggerEnum": "versions.states.SaveTrigger",
    },
}
# Uploads go to disk, below the data folder, and no further than the limit.
FILE_UPLOAD_HANDLERS = ["labeler.uploading.ScratchUploadHandler"]
LABELER_UPLOAD_BYTES = env.number("LABELER_UPLOAD_BYTES", default=2 * 1024 * 1024 * 1024)
DATA_UPLOAD_MAX_MEMORY_SIZE = env.number("LABELER_BODY_BYTES", default=10 * 1024 * 1024)
LOGIN_URL = "/accounts/login/"
LOGIN_REDIRECT_URL = "/"

# Language, time, files ----------------------------------------------------------------

LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("ko", "한국어")]
LOCALE_PATHS = [BASE_DIR / "labeler" / "locale"]
USE_I18N = True
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "/static/"
STATIC_ROOT = DATA_DIR / "static"

# Safety -------------------------------------------------------------------------------

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 8}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
CSRF_FAILURE_VIEW = "labeler.errors.forbidden"
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_SAMESITE = "Lax"
SECURE_CONTENT_TYPE_NOSNIFF = True
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
if MODE == "production":
    HTTPS = env.flag("LABELER_HTTPS", default=True)
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
    SECURE_SSL_REDIRECT = HTTPS
    SECURE_HSTS_SECONDS = env.number("LABELER_HSTS_SECONDS", default=31_536_000 if HTTPS else 0)
    SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = HTTPS
    SECURE_PROXY_SSL_HEADER = (
        ("HTTP_X_FORWARDED_PROTO", "https") if env.flag("LABELER_BEHIND_PROXY", default=False) else None
    )
    problems = env.unsafe(debug=DEBUG, secret_key=SECRET_KEY)
    if problems:
        raise ImproperlyConfigured("Production refuses to start: " + "; ".join(problems))

# Logs, figures, alarms ------------------------------------------------------------------

LABELER_METRICS_TOKEN = env.secret("LABELER_METRICS_TOKEN", default="")
LABELER_SENTRY_DSN = env.secret("LABELER_SENTRY_DSN", default="")
LOG_FORMAT = env.choice("LABELER_LOG_FORMAT", ("line", "json"), default="json" if MODE == "production" else "line")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"request_id": {"()": "labeler.logs.RequestId"}},
    "formatters": {
        "line": {"format": "%(asctime)s %(levelname)-7s %(name)s [%(request_id)s]: %(message)s"},
        "json": {"()": "labeler.logs.JsonLines"},
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": LOG_FORMAT, "filters": ["request_id"]}},
    "root": {"handlers": ["console"], "level": env.text("LABELER_LOG_LEVEL", default="INFO")},
    # Each task has one line of ours (labeler/tracing.py), with the id of the request that sent it.
    "loggers": {"celery.worker.strategy": {"level": "WARNING"}, "celery.app.trace": {"level": "WARNING"}},
}
