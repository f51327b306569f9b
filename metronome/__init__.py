"""Metronome on one page.

    1. A dialect (`dialects/`) turns what a client sends into events, plain JSON objects.
    2. `intake.accept` flattens and stamps them, gives each its id, and writes them to the spool (`spool/spool.py`).
       The client gets its 2xx once the bytes are fsynced.
    3. The drain (`drain/drain.py`), a process of its own, ships the spooled bytes to Elasticsearch and judges every
       item of the answer: indexed, duplicate, again, or quarantined with its reason.
    4. Documents are in Logstash format, in daily indices (`store/documents.py`), so that Logstash, Fluentd and Kibana
       work on the same ones.
    5. A dialect turns a client's question into `Question`s; `query.ask` answers them by aggregations; the dialect turns
       the `Answer`s into what its clients expect.

Two doors: all that enters goes through `intake.accept`, all that is read through `query.ask`. DESIGN.md tells why.
"""

__version__ = "0.1.0"
