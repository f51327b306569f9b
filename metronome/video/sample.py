"""The sample key of a fresh installation. Everybody knows it, so it joins video sockets and does nothing else."""

from __future__ import annotations

KEY = "HDsj3NfKQTNwn5Ix9g+cfQ=="

NAME = "sample key for videos"
