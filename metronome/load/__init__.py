"""`metronome load`: files of events and access logs, counted once however often they are loaded.

load.py         one run over one file: batches, receipts, how far it got
accesslog.py    a line of an access log as an event
logfile.py      a file as lines with their offsets
"""
