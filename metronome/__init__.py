"""Metronome on one page.

    1. A dialect (`dialects/`) turns what a client sends into events, plain JSON objects. What all dialects need of HTTP
       is in `wire/`; long connections are in `streams/`, the forward protocol in `listen/`.
    2. `intake.accept` flattens and stamps the events, gives each its id, and writes them to the spool (`spool/`). The
       client gets its 2xx once the bytes are fsynced.
    3. The drain (`drain/`), a process of its own, ships the spooled bytes to Elasticsearch and judges every item of the
       answer: indexed, duplicate, held back because its index takes nothing now, or quarantined with its reason.
    4. Documents are in Logstash format, in daily indices (`store/documents.py`), so that Logstash, Fluentd and Kibana
       work on the same ones. `parts/` keeps each day as a Parquet file beside them.
    5. A dialect turns a client's question into questions of `query/`. `query.ask` answers them from Elasticsearch and
       whatever else holds some of the days. The dialect turns the answers into what its clients expect.
    6. `archive/` moves old days into an S3 or a folder, where they are asked as before. `erasure/` takes what was
       stored of a person out of all these places.

Two doors: all that enters goes through `intake.accept`, all that is read through `query.ask`. DESIGN.md tells why.
"""

__version__ = "0.1.0"
