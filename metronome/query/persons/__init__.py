"""Questions about persons, answered exactly from day parts.

rules.py       conditions on a person: properties, what the person did, ids; a segment is a tree of them
questions.py   FromParts (figures of persons), Evidence, Members, EventsOf, PropertiesOf as frozen values
answers.py     what comes back
scene.py       what one question sees: the days that there are, who is whom, what it may cost
numbers.py     the persons of rows, as numbers
bits.py        which rows meet a condition, those on persons included
facts.py       what rules ask of persons: properties, and how often they did something
properties.py  the properties of persons, folded from `$set` events
counting.py    FromParts: pairs.py (rows with groups) -> measures.py
evidence.py    the events of one subject behind a trend
listing.py     persons with what is known of them
documents.py   events themselves, and their fields, by what is known of their persons
answering.py   registers who answers
"""
