"""Reading the environment: typed, strict, and with secrets that may come from files."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

DEFAULT_SECRETS = {
    "", "admin", "password", "postgres", "changeme", "change-me", "secret", "labeler", "redis", "minioadmin",
    "rustfsadmin",
}  # fmt: skip


class Environment:
    """Typed answers from ``os.environ``; what is missing or malformed is named, never guessed."""

    def text(self, name: str, default: str | None = None) -> str:
        """The value of ``name``; raises ImproperlyConfigured when unset and without default."""
        value = os.environ.get(name, default)
        if value is None:
            raise ImproperlyConfigured(f"Set {name} in the environment; README.md lists every variable.")
        return value

    def secret(self, name: str, default: str | None = None) -> str:
        """The value of ``name``, or the content of the file named in ``{name}_FILE``."""
        path = os.environ.get(f"{name}_FILE")
        if path:
            try:
                return Path(path).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise ImproperlyConfigured(f"{name}_FILE names {path}, which cannot be read: {error}.") from error
        return self.text(name, default)

    def flag(self, name: str, default: bool) -> bool:
        """True for 1/true/yes/on, False for 0/false/no/off; anything else is refused."""
        value = os.environ.get(name, "").strip().lower()
        if not value:
            return default
        if value in {"1", "true", "yes", "on"}:
            return True
        if value in {"0", "false", "no", "off"}:
            return False
        raise ImproperlyConfigured(f"{name} must be true or false, not {value!r}.")

    def number(self, name: str, default: int) -> int:
        """A whole number >= 0."""
        value = os.environ.get(name, str(default))
        if not (value.isascii() and value.isdigit()):
            raise ImproperlyConfigured(f"{name} must be a whole number, not {value!r}.")
        return int(value)

    def rate(self, name: str, default: str) -> str:
        """So many in a time: ``20/min``, with sec, min, hour or day."""
        value = os.environ.get(name, default)
        if not re.fullmatch(r"[1-9]\d*/(sec|min|hour|day)", value):
            raise ImproperlyConfigured(f"{name} must be like 20/min (sec, min, hour or day), not {value!r}.")
        return value

    def choice(self, name: str, allowed: tuple[str, ...], default: str) -> str:
        """One of ``allowed``."""
        value = os.environ.get(name, default)
        if value not in allowed:
            raise ImproperlyConfigured(f"{name} must be one of {', '.join(allowed)}, not {value!r}.")
        return value

    def items(self, name: str, default: list[str]) -> list[str]:
        """A comma-separated list."""
        value = os.environ.get(name)
        return default if value is None else [item.strip() for item in value.split(",") if item.strip()]

    def address(self, name: str) -> str | None:
        """The URL of a server that speaks HTTP, or None."""
        value = os.environ.get(name) or None
        if value and not value.startswith(("http://", "https://")):
            raise ImproperlyConfigured(f"{name} must begin with http:// or https://, not {value!r}.")
        return value

    def store(self, prefix: str, *, alias: str) -> dict[str, Any]:
        """A ``STORAGES`` entry: a folder (``{prefix}_FOLDER``) or an S3 bucket (``{prefix}_BUCKET`` and keys)."""
        folder = os.environ.get(f"{prefix}_FOLDER")
        if folder:
            return {
                "BACKEND": "labeler.storage.FolderStore",
                "OPTIONS": {"alias": alias, "location": folder},
            }
        return {
            "BACKEND": "labeler.storage.S3Store",
            "OPTIONS": {
                "alias": alias,
                "bucket_name": self.text(f"{prefix}_BUCKET"),
                "endpoint_url": self.address(f"{prefix}_ENDPOINT"),
                "public_endpoint_url": self.address(f"{prefix}_PUBLIC_ENDPOINT"),
                "region_name": os.environ.get(f"{prefix}_REGION", "us-east-1"),
                "access_key": self.secret(f"{prefix}_ACCESS_KEY"),
                "secret_key": self.secret(f"{prefix}_SECRET_KEY"),
                "storage_type": self.choice(f"{prefix}_TYPE", ("s3", "r2"), default="s3"),
            },
        }

    def unsafe(self, *, debug: bool, secret_key: str) -> list[str]:
        """What production must not run with: DEBUG, a weak key, default passwords."""
        problems = ["LABELER_DEBUG is on"] if debug else []
        if len(secret_key) < 50 or len(set(secret_key)) < 5:
            problems.append("LABELER_SECRET_KEY is shorter than 50 characters")
        if secret_key.startswith("django-insecure-"):
            problems.append("LABELER_SECRET_KEY is one made for development")
        for name in ("DATABASE_URL", "PLATFORM_DATABASE_URL"):
            if (urlsplit(self.secret(name)).password or "") in DEFAULT_SECRETS:
                problems.append(f"{name} has no password or a default one")
        if "@" in self.secret("REDIS_URL") and (urlsplit(self.secret("REDIS_URL")).password or "") in DEFAULT_SECRETS:
            problems.append("REDIS_URL has a default password")
        for prefix in ("LABELER_STORE", "PLATFORM_STORE"):
            if not os.environ.get(f"{prefix}_FOLDER") and self.secret(f"{prefix}_SECRET_KEY") in DEFAULT_SECRETS:
                problems.append(f"{prefix}_SECRET_KEY is a default one")
        return problems
