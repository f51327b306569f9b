"""The disk queue between HTTP and Elasticsearch.

spool.py        the writing end: a 2xx waits for its fsync (start here: constraints, format, operation)
reader.py       the reading end: rows in order, and what of a damaged file can still be read
quarantine.py   events that Elasticsearch refused for good, with the reason
status.py       what waits, and how the drain stands
files.py        the folder: locks, names, transactions
"""
