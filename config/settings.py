"""The one settings file; everything that differs between installations comes from the environment."""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured
from whitenoise.compress import Compressor

from config.env import (
    BASE_DIR,
    read_bool,
    read_broker,
    read_database,
    read_devices,
    read_endpoints,
    read_file,
    read_home,
    read_hosts,
    read_int,
    read_models,
    read_origins,
    read_secret_key,
    read_token,
)

PREFLOOP_HOME = read_home()
DEBUG = read_bool("DEBUG", default=False)
SECRET_KEY = read_secret_key(PREFLOOP_HOME)
ALLOWED_HOSTS = read_hosts("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
if "*" in ALLOWED_HOSTS and not DEBUG:
    raise ImproperlyConfigured("ALLOWED_HOSTS=* is refused outside DEBUG: name the hosts this server answers to")
CSRF_TRUSTED_ORIGINS = read_origins("CSRF_TRUSTED_ORIGINS")
METRICS_TOKEN = read_token("METRICS_TOKEN")
# Endpoints off this machine that AI feedback may ask; texts and completions go there.
AI_ENDPOINTS = read_endpoints("AI_ENDPOINTS")
# Models that manage.py register may fetch from the Hugging Face Hub; without this nothing is ever fetched.
HUB_MODELS = read_models("HUB_MODELS")
PORT = read_int("PORT", default=8000, low=1, high=65535)
WEB_CONCURRENCY = read_int("WEB_CONCURRENCY", default=2, low=1, high=64)
# How many processes, one a GPU, work on a run, and how accelerate starts them (FSDP, DeepSpeed, several machines).
LEARNING_PROCESSES = read_int("LEARNING_PROCESSES", default=1, low=1, high=4096)
# No progress for this long means that the process hangs, whatever it looks like from outside: longer than any step takes.
LEARNING_STALL_S = read_int("LEARNING_STALL_S", default=1800, low=60, high=7 * 86400)
LEARNING_ACCELERATE_CONFIG = read_file("LEARNING_ACCELERATE_CONFIG")
# The GPUs of this host that runs may use, by number or UUID; all there are if unset.
LEARNING_DEVICES = read_devices("LEARNING_DEVICES")
# A labeler's votes, and her skips; nobody reads so fast, and the judge page itself takes 100 a minute. 0 sets no limit.
JUDGMENTS_PER_MINUTE = read_int("JUDGMENTS_PER_MINUTE", default=120, low=0, high=100_000)
# Behind TLS every cookie is marked Secure and plain HTTP is redirected; on one machine there is no TLS to insist on.
BEHIND_TLS = any(origin.startswith("https://") for origin in CSRF_TRUSTED_ORIGINS)

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django_htmx",
    "template_partials",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "allauth",
    "allauth.account",
    "labeling",
    "rlhf",
]
MIDDLEWARE = [
    "rlhf.views.health.answer_probes",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "config.csp.restrict_sources",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "labeling.api.short.take_short_way",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "labeling.languages.LanguageMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
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
            ],
        },
    },
]

# --- the database: SQLite under PREFLOOP_HOME, PostgreSQL by DATABASE_URL --------------------------------------------
DATABASES = {"default": read_database("DATABASE_URL", PREFLOOP_HOME)}
# Threads of the web keep their connections: to open one reads SQLite's whole schema, and forgets every prepared statement.
DATABASES["default"]["CONN_MAX_AGE"] = None
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # Measured: without these, 85% of writes fail at 16 writers ("database is locked"); with them none.
    DATABASES["default"]["OPTIONS"] = {
        "timeout": 20,
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL;PRAGMA synchronous=FULL;PRAGMA foreign_keys=ON;",
    }
else:
    DATABASES["default"]["ENGINE"] = "config.postgres"  # Django's own; it sees for itself which connections still live
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
    DATABASES["default"]["CONN_MAX_AGE"] = 3600  # a server that became a read-only standby still answers: not for ever
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- the broker: the Redis that `manage.py up` starts on a unix socket, or CELERY_BROKER_URL --------------------------
REDIS_SOCKET = PREFLOOP_HOME / "redis.sock"
OUTSIDE_BROKER_URL = read_broker("CELERY_BROKER_URL")
CELERY_BROKER_URL = OUTSIDE_BROKER_URL or f"redis+socket://{REDIS_SOCKET}"
USES_BUNDLED_REDIS = OUTSIDE_BROKER_URL == ""
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = False  # a message is a doorbell: the run's row is the truth, and a sweeper rings again
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# Publishing gives up after a second; a worker that lost its broker keeps trying by broker_connection_max_retries.
CELERY_BROKER_TRANSPORT_OPTIONS = {"max_retries": 2, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.5}
if CELERY_BROKER_URL.startswith("redis"):
    CELERY_BROKER_TRANSPORT_OPTIONS |= {"socket_timeout": 5, "socket_connect_timeout": 2, "retry_on_timeout": True}
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_TASK_PUBLISH_RETRY = False  # a request never waits for the broker
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_TASK_ROUTES = {"rlhf.execute_run": {"queue": "learning"}}
CELERY_BEAT_SCHEDULE = {
    name: {"task": name, "schedule": 30.0, "options": {"expires": 25}} for name in ("labeling.sweep", "rlhf.sweep")
}
CELERY_BEAT_SCHEDULE_FILENAME = str(PREFLOOP_HOME / "beat-schedule")

# --- files ------------------------------------------------------------------------------------------------------------
STORAGES = {
    "default": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": str(PREFLOOP_HOME / "files")},
    },
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if not DEBUG
        else "django.contrib.staticfiles.storage.StaticFilesStorage",
    },
}
# Source maps are for debuggers; compressing them took half of the first start.
WHITENOISE_KEEP_ONLY_HASHED_FILES = True
WHITENOISE_SKIP_COMPRESS_EXTENSIONS = (*Compressor.SKIP_COMPRESS_EXTENSIONS, "map")
STATIC_URL = "/static/"
STATIC_ROOT = PREFLOOP_HOME / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATICFILES_FINDERS = [
    "config.joining.JoinedFinder",
    "django.contrib.staticfiles.finders.FileSystemFinder",
    "django.contrib.staticfiles.finders.AppDirectoriesFinder",
]

# --- people -----------------------------------------------------------------------------------------------------------
AUTH_USER_MODEL = "labeling.User"
AUTHENTICATION_BACKENDS = [
    "labeling.accounts.PasswordBackend",
    "allauth.account.auth_backends.AuthenticationBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]
LOGIN_URL = "/accounts/login/"
LOGIN_REDIRECT_URL = "/"
ACCOUNT_ADAPTER = "labeling.accounts.ClosedSignup"
ACCOUNT_LOGIN_METHODS = {"username", "email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "username*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_LOGOUT_REDIRECT_URL = "/accounts/login/"
# Shared by all web processes, so that the login's rate limit holds; it lives in the database that is there anyway.
CACHES = {"default": {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "cache"}}

# --- the browser: model output is hostile text -------------------------------------------------------------------------
CONTENT_SECURITY_POLICY = {
    "default-src": ["'self'"],
    "img-src": ["'self'", "data:"],
    "object-src": ["'none'"],
    "base-uri": ["'none'"],
    "form-action": ["'self'"],
    "frame-ancestors": ["'none'"],
}
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
SESSION_ENGINE = "labeling.sessions"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = BEHIND_TLS
SECURE_REDIRECT_EXEMPT = [r"^metrics$"]  # scraped beside the proxy; probes are answered before any redirect
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if BEHIND_TLS else None
SECURE_HSTS_SECONDS = 31_536_000 if BEHIND_TLS else 0
DATA_UPLOAD_MAX_MEMORY_SIZE = 10 * 2**20

# --- the API ----------------------------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework.authentication.SessionAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "labeling.api.negotiation.PlainNegotiation",
    "DEFAULT_PARSER_CLASSES": ["labeling.api.parsers.BoundedJSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Prefloop",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.IsAuthenticated"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "ENUM_NAME_OVERRIDES": {
        "RunKind": "rlhf.models.Run.Kind",
        "RunState": "rlhf.models.Run.State",
        "RoundState": "rlhf.models.Round.State",
        "DatasetKind": "rlhf.models.Dataset.Kind",
        "CheckpointKind": "rlhf.models.Checkpoint.Kind",
        "FreezableKind": "rlhf.api.serializers.FREEZABLE",
    },
}

# --- words and time -----------------------------------------------------------------------------------------------------
LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("de", "Deutsch")]  # each by its own name
LOCALE_PATHS = [BASE_DIR / "locale"]
LANGUAGE_COOKIE_AGE = 365 * 24 * 3600
LANGUAGE_COOKIE_HTTPONLY = True
LANGUAGE_COOKIE_SAMESITE = "Lax"
LANGUAGE_COOKIE_SECURE = BEHIND_TLS
TIME_ZONE = "UTC"
USE_TZ = True

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "INFO"},
    "loggers": {"django.request": {"level": "ERROR"}},
}
