"""The room that speaks to Elasticsearch.

client.py       connect; every error of the client as one of ours
names.py        names of indices, and the patterns that questions read
documents.py    what is stored, as elasticsearch-dsl models
indices.py      index templates: install and check them
address.py      where an Elasticsearch answers
"""
