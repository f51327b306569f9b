"""The door in: `Intake.accept` checks, stamps and spools events, and answers with a receipt.

1. origin.py     where the events of a request come from, and what that says of all of them
2. settle.py     names: flatten, rename what Elasticsearch would refuse, withhold what is private
3. stamp.py      when, who (robot or not), what happened, where from
4. ids.py        the id under which an event is stored, and by which a retry is known
   clamped.py    the day of an event without a usable time, where the id holds none
   days.py       how many new days, and so new indices, an hour may begin
5. door.py       bulk-ready bytes, one spool row
6. receipt.py    what became of each event
   aside.py      what can't be taken of a request goes to the quarantine
"""

from metronome.intake.aside import Unreadable
from metronome.intake.door import Intake
from metronome.intake.origin import NO_HORIZON, PUBLIC_HORIZON, Origin, Refused, WithFacts
from metronome.intake.receipt import Receipt
from metronome.intake.settle import Unacceptable

__all__ = [
    "NO_HORIZON",
    "PUBLIC_HORIZON",
    "Intake",
    "Origin",
    "Receipt",
    "Refused",
    "Unacceptable",
    "Unreadable",
    "WithFacts",
]
