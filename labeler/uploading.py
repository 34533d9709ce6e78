"""Where uploaded files go while a request is read."""

from __future__ import annotations

from tempfile import NamedTemporaryFile
from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.core.files.uploadedfile import TemporaryUploadedFile, UploadedFile
from django.core.files.uploadhandler import TemporaryFileUploadHandler


class ScratchFile(TemporaryUploadedFile):
    """A file being received, in the scratch folder; closing removes it."""

    def __init__(self, handler: TemporaryFileUploadHandler) -> None:
        settings.LABELER_SCRATCH.mkdir(parents=True, exist_ok=True)
        file = NamedTemporaryFile(suffix=".upload", dir=settings.LABELER_SCRATCH)  # noqa: SIM115 - closed by Django
        UploadedFile.__init__(
            self, file, handler.file_name, handler.content_type, 0, handler.charset, handler.content_type_extra
        )


class ScratchUploadHandler(TemporaryFileUploadHandler):
    """Every file to the scratch folder; a request above ``LABELER_UPLOAD_BYTES`` is refused before it is read."""

    def handle_raw_input(
        self, input_data: Any, META: dict[str, Any], content_length: int, boundary: str, encoding: str | None = None
    ) -> None:
        """Raise RequestDataTooBig for a body that says it is too large."""
        if content_length > settings.LABELER_UPLOAD_BYTES:
            raise RequestDataTooBig(f"The upload is larger than {settings.LABELER_UPLOAD_BYTES} bytes.")

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        """Begin with the next file of the request."""
        super(TemporaryFileUploadHandler, self).new_file(*args, **kwargs)
        self.file = ScratchFile(self)
