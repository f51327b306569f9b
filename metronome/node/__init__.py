"""The private Elasticsearch that runs where ELASTICSEARCH_URL isn't set.

node.py        start it, stop it, find it
launch.py      folders, configuration, command, user
download.py    fetch a release and verify it
failures.py    why it didn't start, and the way out
"""
