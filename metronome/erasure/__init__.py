"""Erasure: what was stored of a person, of a filter's events or under one name goes from everywhere, with a receipt.

    target.py      what is to go, and what becomes of a document: it stays, goes, or is rewritten
    rewrite.py     documents rewritten so that every other byte stays as it was
    underway.py    whom an erasure is about, until it has ended
    suppress.py    who isn't taken any more: keyed hashes, in Elasticsearch and in a file for the processes of a host
    indices.py     Elasticsearch
    archived.py    the archive: affected days are rewritten one by one, and the old objects go in all their versions
    saved.py       saved segments, metrics and dashboards
    local.py       this machine: spool, quarantine, day parts, copies of archived parts
    receipt.py     what was found where, signed
    job.py         all of it, in order; may be killed and run again
    keeper.py      jobs that were asked for over HTTP, and what other hosts have suppressed, in the drain

Source: semantics, section 13, and the archive contract, section 4. docs/erasure.md tells it to who is asked to erase.
"""
