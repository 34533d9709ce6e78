"""``manage.py make_buckets``: both buckets, if they are not there."""

from __future__ import annotations

from typing import Any

import botocore.exceptions
from django.core.files.storage import storages
from django.core.management.base import BaseCommand, CommandError

from labeler.storage import S3Store


class Command(BaseCommand):
    """For a fresh store; a bucket that is there is left as it is."""

    help = "Make the buckets of both stores unless they are there; folders need none."

    def handle(self, *args: Any, **options: Any) -> None:
        """Make and say so."""
        for alias in ("labeler", "platform"):
            store = storages[alias]
            if not isinstance(store, S3Store):
                self.stdout.write(f"{alias}: a folder, nothing to make")
                continue
            self.stdout.write(f"{alias}: bucket {store.bucket_name} {self._make(store)}")

    def _make(self, store: S3Store) -> str:
        try:
            if self._is_there(store):
                return "is there"
            store.client.create_bucket(Bucket=store.bucket_name)
        except botocore.exceptions.ClientError as error:
            code = error.response.get("Error", {}).get("Code")
            raise CommandError(f"The bucket {store.bucket_name} cannot be made ({code}).") from error
        except botocore.exceptions.BotoCoreError as error:
            raise CommandError(f"The store at {store.endpoint_url} does not answer.") from error
        return "made"

    def _is_there(self, store: S3Store) -> bool:
        try:
            store.client.head_bucket(Bucket=store.bucket_name)
        except botocore.exceptions.ClientError as error:
            if error.response.get("Error", {}).get("Code") in ("404", "NoSuchBucket"):
                return False
            raise
        return True
