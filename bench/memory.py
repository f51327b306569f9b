"""The most memory that a process ever had. It is read by the measured processes themselves, so nothing else is here."""

from __future__ import annotations

from pathlib import Path


def highest_kb(pid: int | str = "self") -> int:
    """In KB of resident memory. `getrusage` wouldn't do: its value begins with that of the process's parent."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
