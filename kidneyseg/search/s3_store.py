"""Artifacts as objects of an S3-compatible store. Needs boto3, the extra `s3`.

Endpoint, region and credentials come from the usual AWS variables and nowhere else of ours:
AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION. Optuna's own S3 store knows
no prefix and no timeouts, and holds every file in memory twice.
"""

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from optuna.artifacts.exceptions import ArtifactNotFound

from kidneyseg.errors import SettingsError, StorageError, StorageLostError
from kidneyseg.search.folder_store import check_artifact_id

USER = re.compile(r"//[^/@\s]*@")  # in an address: may hold a password
CONNECT_SECONDS = 5
READ_SECONDS = 20
ATTEMPTS = 3


class S3Store:
    """Artifacts as objects of a bucket, below a prefix, named by their ids."""

    def __init__(self, client: Any, bucket: str, prefix: str) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = prefix

    @property
    def address(self) -> str:
        """What people call it."""
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Fetch an artifact, whole, and open the copy. Raises ArtifactNotFound."""
        copy = tempfile.TemporaryFile()  # noqa: SIM115 - the caller's to close
        try:
            with self._reached():
                key = self._key(artifact_id)
                body = self._client.get_object(Bucket=self._bucket, Key=key)["Body"]
                shutil.copyfileobj(body, copy)
        except BaseException:
            copy.close()
            raise
        copy.seek(0)
        return copy

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Put an artifact: the store itself shows it whole or not at all."""
        with self._reached():
            key = self._key(artifact_id)
            self._client.put_object(Bucket=self._bucket, Key=key, Body=content_body)

    def remove(self, artifact_id: str) -> None:
        """Remove an artifact; one that is not there is no error, as S3 has it."""
        with self._reached():
            self._client.delete_object(Bucket=self._bucket, Key=self._key(artifact_id))

    def check(self) -> None:
        """See that the bucket is there. Raises StorageError."""
        try:
            with self._reached():
                self._client.head_bucket(Bucket=self._bucket)
        except ArtifactNotFound:
            raise StorageError(
                f"{self.address}: no such bucket; make it, or name another"
            ) from None
        except StorageLostError as error:
            raise StorageError(str(error)) from error

    def _key(self, artifact_id: str) -> str:
        name = check_artifact_id(artifact_id)
        return f"{self._prefix}/{name}" if self._prefix else name

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except (ClientError, BotoCoreError) as error:
            if _is_missing(error):
                raise ArtifactNotFound(f"not in {self.address}") from error
            raise StorageLostError(
                f"{self.address}: {_reason(error)}; expected a store that AWS_ENDPOINT_URL and the "
                "other AWS variables name"
            ) from error


def connect(address: str) -> S3Store:
    """Open `s3://bucket/prefix`. Raises SettingsError, and StorageError for one not there."""
    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
    )
    bucket, _, prefix = address.removeprefix("s3://").partition("/")
    try:
        client = boto3.session.Session().client("s3", config=config)
    except (BotoCoreError, ValueError) as error:
        raise SettingsError(f"common.artifacts = {address}: {_reason(error)}") from error
    store = S3Store(client, bucket, prefix.strip("/"))
    store.check()
    return store


def _reason(error: Exception) -> str:
    return USER.sub("//***@", " ".join(str(error).split()))


def _is_missing(error: Exception) -> bool:
    if not isinstance(error, ClientError):
        return False
    answer = error.response.get("ResponseMetadata", {})
    return bool(answer.get("HTTPStatusCode") == 404)
