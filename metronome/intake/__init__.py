"""The door in: `Intake.accept` checks, stamps and spools events, and answers with a receipt.

1. settle.py    names: flatten, rename what Elasticsearch would refuse, withhold what is private
2. stamp.py     facts: when, who (robot or not), what happened, where from
3. door.py      ids, bulk-ready bytes, one spool row, the receipt
"""

from metronome.intake.door import Intake, Receipt, Source, Unreadable
from metronome.intake.settle import Flat

__all__ = ["Flat", "Intake", "Receipt", "Source", "Unreadable"]
