"""The door for senders that keep a connection: Fluentd's forward protocol, and JSON lines over TCP and UDP.

    bytes -> frames -> batches of about 20 ms -> Intake.accept in a thread -> spool, fsync -> {"ack": chunk}

1. framing.py      a stream of bytes is cut into complete messages or lines, which aren't decoded yet
2. forward.py      one message of the forward protocol becomes events (modes, times, ids)
3. handshake.py    HELO, PING, PONG: who knows the shared key
4. counted.py      a record that is counted usage becomes an event without anybody in it
5. batch.py        frames that arrive within 20 ms go through the door in one thread; then their senders are answered
6. connection.py   one connection: deadlines, back-pressure, answers
7. server.py       ports, TLS, limits over all connections, UDP
8. access.py       which ports there are, and who may use them

One process with one event loop, beside the web workers; nothing of it is imported on the path of a tick.

Promises
    - `{"ack": chunk}` is sent after the fsync of every event of the chunk that can be taken. What can't be taken is
      quarantined by the door, since the protocol has no way to say so.
    - A chunk that is sent again counts once: an event's insert_id is made of chunk and position.
    - If the spool is full, no ack is sent and the connection is closed. Senders then try again at once, with their own
      back-off; Fluentd and npm's fluent-logger would wait 190 s for an ack. Senders don't repeat JSON lines, nor
      messages without a chunk. These wait here until the spool takes them, and until then nothing more is read.
    - A counted usage waits like that while it can't be known whose it is, since Elasticsearch was never reached.
    - Bytes that can't be read close their own connection and no other.
"""
