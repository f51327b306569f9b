"""`archive run` of one day in a process that ends by kill -9 before its N-th request to Elasticsearch or the archive.

python killed.py N DAY      prints how many requests there were, where N is more than there are
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
from metronome.settings import Settings

METHODS = ("put", "replace", "get", "read", "list", "delete")


def main() -> None:
    last, day = int(sys.argv[1]), date.fromisoformat(sys.argv[2])
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
        lease = work.lease()
        with lease.held():
            work.archiver(lease).archive(day)
    print(counted)


main()
