"""From the spools into Elasticsearch.

drain.py    the process: poll, gather, ship, delete
sources.py  the spool files it empties, and which of their rows are under way
sender.py   one bulk body: send it until each of its events is settled or set aside
judge.py    what an answer means, for a request and for each of its items
retry.py    what was set aside, tried again
body.py     the two lines an event that a bulk body is made of
"""
