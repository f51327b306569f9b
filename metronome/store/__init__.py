"""The room that speaks to Elasticsearch.

client.py       connect; every error of the client as one of ours
names.py        names of indices, and the patterns that questions read
documents.py    events as they are stored, as an elasticsearch-dsl model
records.py      things that change, such as keys: models, optimistic concurrency, a local copy
indices.py      index templates: install and check them
address.py      where an Elasticsearch answers
"""
