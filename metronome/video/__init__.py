"""What a video's plays are made of, as plain values: the socket writes them, questions read them.

    jsonb.py       JSON as PostgreSQL's jsonb compares it: canonical text, containment, tokens for an index
    stretches.py   play and pause become stretches; coverage of a video by them
    identity.py    the video and session that a channel is about, and the fields that its events carry
    device.py      browser, platform and device of a user agent, by Matomo's device database
    intervals.py   PostgreSQL's interval texts, and buckets of that width
    sample.py      the sample key of a fresh installation

Source: video contract.
"""
