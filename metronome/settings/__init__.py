"""Every setting, once: its name, default, range and meaning. `settings_table.py` shows these rows to people.

Settings come from environment variables only. A file of this folder declares those of one subject. Sizes are in bytes,
times in seconds (or as their names say).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from metronome.errors import SetupError
from metronome.settings.archive import Archive
from metronome.settings.counter import Counter
from metronome.settings.delivery import Delivery
from metronome.settings.engine import Engine
from metronome.settings.events import Events
from metronome.settings.gateway import Gateway
from metronome.settings.http import Http
from metronome.settings.listen import Listen
from metronome.settings.reading import Reading
from metronome.settings.row import environment, read
from metronome.settings.sushi import Sushi
from metronome.settings.video import Video

#: Variables that begin like ours and are no settings: the test suite's own, and those that Kubernetes sets in every
#: container beside a Service called metronome.
_NOT_SETTINGS = ("METRONOME_TEST_", "METRONOME_SERVICE_", "METRONOME_PORT")

__all__ = ["Settings", "environment", "read"]


# A dataclass takes the fields of its last base first: the table begins with the gateway.
@dataclass(frozen=True)
class Settings(Video, Sushi, Counter, Archive, Reading, Delivery, Listen, Events, Http, Engine, Gateway):
    """All settings of one installation, checked and typed."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the environment; raises SetupError that names the variable, what it got and what it takes.

        An empty variable counts as not set. A misspelt METRONOME_ variable is an error rather than a silent default.
        """
        environ = environment() if environ is None else environ
        rows = {row.metadata["variable"]: row for row in fields(cls)}
        for name in environ:
            if name.startswith("METRONOME_") and name not in rows and not name.startswith(_NOT_SETTINGS):
                raise SetupError(f"{name} is not a setting of Metronome; `metronome settings` lists those there are")
        return cls(**{row.name: read(row, environ[name]) for name, row in rows.items() if environ.get(name)})

    @property
    def spool_dir(self) -> Path:
        return self.home / "spool"

    @property
    def parts_dir(self) -> Path:
        return self.home / "parts"

    @property
    def archive_dir(self) -> Path:
        """Copies of what was read from the archive; deletable at will."""
        return self.home / "archive"

    @property
    def metrics_dir(self) -> Path:
        return self.home / "metrics"

    @property
    def streams_socket(self) -> Path:
        """Where the workers hand long connections over."""
        return self.home / "streams.sock"

    @property
    def node_dir(self) -> Path:
        return self.home / "node"
