"""`python -m metronome`."""

from metronome.cli import main

main()
