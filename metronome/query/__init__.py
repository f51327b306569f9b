"""The door out: `Engine.ask` takes Questions and gives Answers.

question.py    what can be asked, as frozen values
engine.py      one search for all questions of a call, complete however many buckets there are
shipped.py     documents that another shipper wrote: their facts are derived on reading
"""

from metronome.query.answer import Answer
from metronome.query.engine import Engine
from metronome.query.question import AtLeast, Condition, Every, Has, Is, Item, Question

__all__ = ["Answer", "AtLeast", "Condition", "Engine", "Every", "Has", "Is", "Item", "Question"]
