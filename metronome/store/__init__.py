"""The room that keeps events: the spool on disk, and Elasticsearch behind it."""
