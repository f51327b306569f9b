"""Ships events from the spools to Elasticsearch.

drain.py    the process: poll, gather, ship, delete
sources.py  the spool files that the drain empties, and which of their rows are under way
sender.py   sends one bulk body until each of its events is settled or set aside
judge.py    the meaning of an answer, for a request and for each of its items
retry.py    tries again to send the events that were set aside
body.py     bulk bodies: two lines for each event
"""
