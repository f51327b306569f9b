"""What every front door shares: from HTTP bytes to JSON values.

events.py    a body as events: inflating within limits, JSON, NDJSON, forms
"""
