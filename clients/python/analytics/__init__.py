"""The tracker and the retriever of the analytics example, over HTTP to a Metronome gateway."""

from analytics import input, output  # noqa: A004 - the original's names

__all__ = ["input", "output"]
