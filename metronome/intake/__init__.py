"""The door in: `Intake.accept` checks, stamps and spools events, and answers with a receipt.

1. settle.py    names: flatten, rename what Elasticsearch would refuse, withhold what is private
2. stamp.py     facts: when, who (robot or not), what happened, where from
3. ids.py       the id under which an event is stored, and by which a retry is known
4. door.py      bulk-ready bytes, one spool row
5. receipt.py   what became of each event
"""

from metronome.intake.door import Intake, Source, Unreadable
from metronome.intake.receipt import Receipt
from metronome.intake.settle import Flat

__all__ = ["Flat", "Intake", "Receipt", "Source", "Unreadable"]
