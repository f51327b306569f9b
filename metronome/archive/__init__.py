"""The archive: closed days leave Elasticsearch for an S3 or a folder, can still be asked, and come back as they were.

    objects.py     what an archive is made of: folder.py on a disk, s3.py in a bucket
    manifest.py    what is archived of each day; what no manifest names doesn't exist
    state.py       the lease of who works, and word of what has changed, in Elasticsearch
    files.py       files of parts: compared, fetched, kept as copies
    run.py         a day leaves: built, uploaded, read back, named, and only then deleted
    care.py        list, verify, compact; days past METRONOME_KEEP
    restore.py     days come back, byte for byte
    export.py      events to a file, from wherever they are
    asking.py      `ask` across the border: source.py and rows.py answer for archived days
    automatic.py   once an hour, in the drain

docs/archive.md tells it to who sets it up.
"""
