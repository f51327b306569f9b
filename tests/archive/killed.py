"""`archive run` of a day, or an erasure, in a process that ends by kill -9 before its N-th step.

A step is a request to Elasticsearch or the archive, or one of the names that are changed on this host's disk.

python killed.py N archive DAY      prints how many steps there were, where N is more than there are
python killed.py N erase ID
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from datetime import date
from typing import Any

from elastic_transport import Transport

from metronome.archive import state
from metronome.archive.manifest import Catalogue
from metronome.archive.work import opened
from metronome.erasure import local
from metronome.erasure.job import Job
from metronome.erasure.target import Asked
from metronome.query import All
from metronome.settings import Settings

METHODS = ("put", "replace", "get", "read", "list", "delete")


def main() -> None:
    last, what, subject = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    counted = 0
    # The test doesn't wait for a dead holder's lease as long as a user would.
    state.TERM_S = 1.0

    def counting(call: Callable[..., Any]) -> Callable[..., Any]:
        def counted_call(*arguments: Any, **named: Any) -> Any:
            nonlocal counted
            counted += 1
            if counted == last:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **named)

        return counted_call

    with opened(Settings.from_env(), None) as work:
        objects: Any = work.catalogue.objects
        for name in METHODS:
            setattr(objects, name, counting(getattr(objects, name)))
        Transport.perform_request = counting(Transport.perform_request)  # type: ignore[method-assign]
        assert isinstance(work.catalogue, Catalogue)
        if what == "erase":
            for module, name in ((local, "scrub_spools"), (local, "drop_parts"), (local, "forget_notes")):
                setattr(module, name, counting(getattr(module, name)))
            Job(work, lambda given: All()).run(Asked(ids=(subject,)))
        else:
            lease = work.lease()
            with lease.held():
                work.archiver(lease).archive(date.fromisoformat(subject))
    print(counted)


main()
