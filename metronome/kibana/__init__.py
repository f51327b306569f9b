"""A dashboard for Kibana, as saved objects: a data view of the events, its charts, and the dashboard that holds them.

charts.py     each chart as a value, and the list of them
objects.py    the values as Kibana's saved objects, with ids, references and versions
install.py    posts them to Kibana's import
"""
