"""Day parts: each UTC day's events as columns, made from that day's index and kept on disk.

    index.py     what Elasticsearch holds of a day: its counters, and its documents page by page
    columns.py   documents -> columns: names, kinds, lists
    sort.py      runs of columns -> one sorted Parquet file
    slices.py    a day that is larger than memory, in slices of its order
    folder.py    the files of all days: versions, locks, room
    build.py     bring a day up to date, from nothing or by what is new; verify it
    read.py      columns wanted, days, filters -> numpy arrays

    merged.py    columns of many closed days, mapped into memory: made of parts, deleted where a part loses an event
    writing.py   rows -> the files of merged columns
    merge.py     who has columns merged, and when
    match.py     conditions over merged columns
    closed.py    days wanted -> rows, from merged columns where there are any, else from the parts

    index -> columns -> sort -> folder -> read -> writing -> merged -> closed

A part is a cache: it may be deleted at any time, and is made again from Elasticsearch. The same file is what the
archive keeps. docs/archive.md says what is in it.
"""
