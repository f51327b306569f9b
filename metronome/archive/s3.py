"""An archive in a bucket of any S3: the one place that speaks to it, and that turns its errors into ours.

    no answer, 429, 5xx, a body cut short     ArchiveUnavailable   the same call will work later
    409, 412 of a conditional put             Conflict
    404 of an object                          NotFound
    any other, 403 first of all               SetupError           bucket, credentials, policy

Uploads carry SHA-256 checksums, so that an S3 which checks them refuses a damaged body; whoever archives reads
everything back as well, since not all do.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, NoCredentialsError

from metronome.archive.objects import Object
from metronome.errors import ArchiveUnavailable, Conflict, NotFound, SetupError
from metronome.settings import Settings

PIECE = 2**20

#: Larger files go in parts of this size, two at a time.
PART_BYTES = 16 * 2**20

CONNECT_TIMEOUT_S = 5
READ_TIMEOUT_S = 30
TRIES = 4


class Bucket:
    """Objects below a prefix of one bucket."""

    def __init__(self, settings: Settings) -> None:
        place = urlsplit(settings.archive)
        self.bucket = place.netloc
        self.prefix = f"{place.path.strip('/')}/".lstrip("/")
        self._stored = _stored(settings)
        style: Any = {"addressing_style": "path"} if settings.archive_endpoint else {}
        config = Config(
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=READ_TIMEOUT_S,
            retries={"total_max_attempts": TRIES, "mode": "standard"},
            s3=style,
            # Optional checksums that some implementations don't know are left out; ours are named where they are sent.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        try:
            # Credentials, region and profile are boto3's own chain. An endpoint of one's own has no region to find.
            session = boto3.Session()
            region = session.region_name or ("us-east-1" if settings.archive_endpoint else None)
            self._s3 = session.client(
                "s3", endpoint_url=settings.archive_endpoint or None, region_name=region, config=config
            )
        except (BotoCoreError, ValueError) as error:
            raise SetupError("METRONOME_ARCHIVE: boto3 can't be set up", detail=str(error)) from error

    def put(self, key: str, path: Path) -> str:
        limits = TransferConfig(multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, max_concurrency=2)
        with _our_errors(self.bucket, key):
            extra = {**self._stored, "ChecksumAlgorithm": "SHA256", "ContentType": "application/vnd.apache.parquet"}
            self._s3.upload_file(str(path), self.bucket, key, ExtraArgs=extra, Config=limits)
            return _etag(self._s3.head_object(Bucket=self.bucket, Key=key))

    def replace(self, key: str, body: bytes, etag: str | None) -> str:
        condition = {"IfNoneMatch": "*"} if etag is None else {"IfMatch": f'"{etag}"'}
        checksum = b64encode(hashlib.sha256(body).digest()).decode()
        try:
            with _our_errors(self.bucket, key):
                done = self._s3.put_object(
                    Bucket=self.bucket,
                    Key=key,
                    Body=body,
                    ContentType="application/json",
                    ChecksumSHA256=checksum,
                    **condition,
                    **{name: value for name, value in self._stored.items() if name != "StorageClass"},
                )
        except Conflict:
            # Where the answer to a put was lost, boto3 sent it again and met its own object.
            found = self.get(key)
            if found is not None and found[0] == body:
                return found[1]
            raise
        return _etag(done)

    def get(self, key: str) -> tuple[bytes, str] | None:
        try:
            with _our_errors(self.bucket, key):
                found = self._s3.get_object(Bucket=self.bucket, Key=key)
                with closing(found["Body"]) as body:
                    return body.read(), _etag(found)
        except NotFound:
            return None

    def read(self, key: str) -> Iterator[bytes]:
        with _our_errors(self.bucket, key):
            found = self._s3.get_object(Bucket=self.bucket, Key=key)
            with closing(found["Body"]) as body:
                yield from body.iter_chunks(PIECE)

    def list(self, prefix: str) -> Iterator[Object]:
        with _our_errors(self.bucket, prefix):
            for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix):
                for row in page.get("Contents", []):
                    yield Object(row["Key"], row["Size"], row["ETag"].strip('"'))

    def delete(self, key: str) -> None:
        with _our_errors(self.bucket, key):
            self._s3.delete_object(Bucket=self.bucket, Key=key)

    def purge(self, prefix: str, kept: Collection[str]) -> None:
        place = {"Bucket": self.bucket, "Prefix": prefix}
        with _our_errors(self.bucket, prefix):
            for page in self._s3.get_paginator("list_object_versions").paginate(**place):
                for row in (*page.get("Versions", ()), *page.get("DeleteMarkers", ())):
                    if not (row["IsLatest"] and row["Key"] in kept):
                        self._s3.delete_object(Bucket=self.bucket, Key=row["Key"], VersionId=row["VersionId"])
            for page in self._s3.get_paginator("list_multipart_uploads").paginate(**place):
                for row in page.get("Uploads", ()):
                    self._s3.abort_multipart_upload(Bucket=self.bucket, Key=row["Key"], UploadId=row["UploadId"])


def _stored(settings: Settings) -> dict[str, str]:
    """How objects are stored, where the settings say it."""
    sse = settings.archive_sse
    found = {
        "ServerSideEncryption": sse.upper() if sse == "aes256" else sse,
        "SSEKMSKeyId": settings.archive_kms_key,
        "StorageClass": settings.archive_storage_class,
    }
    return {name: value for name, value in found.items() if value}


def _etag(answer: dict[str, Any]) -> str:
    return str(answer["ETag"]).strip('"')


@contextmanager
def _our_errors(bucket: str, key: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        raise _from_answer(error, bucket, key) from error
    except NoCredentialsError as error:
        raise SetupError(
            "METRONOME_ARCHIVE: boto3 finds no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "AWS_PROFILE, or give the machine a role"
        ) from error
    except (BotoCoreError, HTTPClientError, Boto3Error) as error:
        if isinstance(error.__context__, ClientError):
            raise _from_answer(error.__context__, bucket, key) from error
        raise ArchiveUnavailable(
            "the archive doesn't answer", detail=f"{type(error).__name__}: {error}"[:300]
        ) from error


def _from_answer(error: ClientError, bucket: str, key: str) -> ArchiveUnavailable | Conflict | NotFound | SetupError:
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    code = str(error.response.get("Error", {}).get("Code", ""))
    detail = f"{status} {code}: {error.response.get('Error', {}).get('Message', '')}"[:300]
    if status in (409, 412):
        return Conflict(f"{key} was changed by somebody else; read it again", detail=detail)
    if status == 404 and code != "NoSuchBucket":
        return NotFound(f"there is no {key} in the archive", detail=detail)
    if status in (408, 429) or (status >= 500 and status != 501):
        return ArchiveUnavailable("the archive can't answer just now", detail=detail)
    return SetupError(
        f"METRONOME_ARCHIVE: the S3 refused a request about bucket {bucket}; check that it is there, the credentials "
        "and the bucket policy (docs/archive.md)",
        detail=detail,
    )
