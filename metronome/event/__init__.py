"""What an event is.

fields.py    the names that mean something, in one table
facts.py     what is derived from an event: view or download, format, item, referer
agents.py    what a user agent says: robot or person, browser, platform
memo.py      remembers what was found of a text
"""
