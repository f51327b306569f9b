"""What every front door shares.

events.py    a body as events: inflating within limits, JSON, NDJSON, forms
request.py   HTTP: a body within limits, answers in JSON, CORS, ETag
access.py    who may call a route
"""
