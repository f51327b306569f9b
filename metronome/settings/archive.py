"""Where old days go, when, and how long days are kept."""

from __future__ import annotations

from dataclasses import dataclass

from metronome import kinds
from metronome.kinds import choice, whole
from metronome.settings.row import setting


@dataclass(frozen=True)
class Archive:
    """Where old days go, when, and how long days are kept."""

    archive: str = setting(
        "METRONOME_ARCHIVE", kinds.ARCHIVE, "", "Where old days go: a bucket of an S3, or a folder. Empty: nowhere."
    )
    archive_endpoint: str = setting(
        "METRONOME_ARCHIVE_ENDPOINT",
        kinds.URL,
        "",
        "Another S3 than AWS (MinIO, R2, …), asked with path-style addresses.",
    )
    archive_after: int = setting(
        "METRONOME_ARCHIVE_AFTER", whole(0, 36500), 0, "Days after which a closed day is archived. 0: only by hand."
    )
    archive_sse: str = setting(
        "METRONOME_ARCHIVE_SSE", choice("aes256", "aws:kms"), "", "Server-side encryption. Empty: the bucket's own."
    )
    archive_kms_key: str = setting("METRONOME_ARCHIVE_KMS_KEY", kinds.TEXT, "", "Id of the key for aws:kms.")
    archive_storage_class: str = setting(
        "METRONOME_ARCHIVE_STORAGE_CLASS",
        kinds.TEXT,
        "",
        "Storage class that is read at once. Empty: the bucket's own.",
    )
    keep: int = setting(
        "METRONOME_KEEP", whole(0, 36500), 0, "Days after which a day is deleted for good, archived or not. 0: never."
    )
