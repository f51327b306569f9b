"""People: who is whom, made of events alone.

1. source.py       links (`$identify`, `$alias`, `$merge`, `$unmerge`) out of Elasticsearch: what is new
2. graph.py        all of them in memory, and the person of every id
3. fold.py         what links mean: the guard, the order, the limits
4. properties.py   `$set` events folded along with the links of a person
5. people.py       the room's door: resolve ids, describe a person
   view.py        who is whom as one question sees it, while links come
   notes.py        what was said a moment ago, which Elasticsearch can't show yet
   activity.py     hour, day, week and month of a moment

Nothing about people is stored but the events, so everything can be computed again from them. Events keep their ids.
"""

from metronome.people.fold import owner_of
from metronome.people.people import People, Person
from metronome.people.view import View

__all__ = ["People", "Person", "View", "owner_of"]
