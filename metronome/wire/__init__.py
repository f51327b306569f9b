"""Parts that every front door shares.

access.py    who may do what: each route's scope, checked before its view runs
caller.py    who sent a request: the key it brings, the page's origin, the client's address
rates.py     how often a caller may send, counted by all processes of a host together
events.py    turns a body into events: inflating within limits, JSON, NDJSON, forms
request.py   HTTP: a body within limits, answers in JSON, CORS, ETag
"""
