"""A program of the analytics example's documentation, with nothing changed but `options`.

It runs with clients/python on its PYTHONPATH and no other package: `python -S -I` finds none.
"""

import sys

from analytics.input import AnalyticsTracker
from analytics.output import AnalyticsRetriever, TimeRange

options = {"host": sys.argv[1], "port": int(sys.argv[2])}

tracker = AnalyticsTracker("myapp", options)

user_id, username, useragent = "42", "jo", "Firefox 12"
tracker.track("login", distinct_id=user_id, username=username, useragent=useragent)

retriever = AnalyticsRetriever("myapp", options)
while not retriever.events():
    pass
print([one["name"] for one in retriever.applications() if one["name"] == "myapp"])
print(retriever.events())
print(retriever.property_values("login", "username"))
over_time = retriever.events_over_time()
print(list(over_time), [row["count"] for row in over_time["login"]])
print(list(retriever.events_over_time(event_name="login", time_range=TimeRange.DAY, property="username")))
