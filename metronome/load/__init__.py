"""`metronome load`: files of events and access logs, counted once however often they are loaded.

load.py         one run over one file: batches, receipts, how far it got
accesslog.py    turns a line of an access log into an event
counted.py      makes counted usage of the lines that are usage
note.py         how far a load got, which file it read, and the lines that aren't loaded
splunk.py       turns a line of the analytics example's tracker into an event
site.py         a made-up site's month
logfile.py      reads a file as lines with their offsets
"""
