"""The disk queue between HTTP and Elasticsearch.

spool.py        the writing end: a 2xx waits for its fsync (start here: constraints, format, operation)
reader.py       the reading end: rows in order, and whether a file is damaged
quarantine.py   events that Elasticsearch refused for good, with the reason
status.py       the backlog, and the state of the drain
files.py        the folder: locks, names, transactions
"""
