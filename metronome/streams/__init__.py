"""Long connections: thousands of idle websockets and server-sent events in one asyncio process, beside the workers.

    routes.py      which paths are served here, and by whom
    head.py        the request of a connection, and how a worker hands both over
    stream.py      what all long connections share: limits, slow readers, half-open ones
    websocket.py   a websocket, as its handler sees it
    events.py      a stream of server-sent events, as its handler sees it
    batches.py     the door in: events of many connections, one fsync every 20 ms
    live.py        events as they arrive, and counters; arrivals.py: the log that all watchers read
    hub.py         all connections of the process; run.py: the process

asyncio lives here and nowhere else. The workers import `routes` and `head`, which do without it.
"""
