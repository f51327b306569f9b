"""From the spools into Elasticsearch.

drain.py    the process: gather rows, ship them, delete what is settled
bulk.py     one bulk body: send it, judge every item of the answer
"""
