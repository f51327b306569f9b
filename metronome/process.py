"""What each of our long-lived processes does once it has started."""

from __future__ import annotations

import contextlib
import gc
import resource

#: A batch makes thousands of objects and no cycles. With Python's 700 the collector wakes several times a batch, to
#: walk what will be gone at once without it.
THRESHOLD = (50_000, 20, 20)


def after_start() -> None:
    """Call once everything that stays is made: the collector needn't walk it ever again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLD)


def allow_many_files() -> None:
    """A connection is a file; many systems allow a process 1,024 of them unless it asks for more."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
