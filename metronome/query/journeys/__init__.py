"""Journeys: questions about the order of a subject's events, answered exactly, from day parts.

    questions.py   Funnel, Retention, Lifecycle, Paths as frozen values; Resolver, who says which ids are one person
    answers.py     what comes back
    days.py        the parts, brought up to date; how much a question may read, hold and take
    wheres.py      a condition as the parts' own
    load.py        parts -> columns.py: one row an event, sorted by subject and then in the total order
    funnel.py      attempts.py by cascade.py, unordered.py or search.py; then figures.py
    retention.py   cohorts and cells
    lifecycle.py   who is new, returns, comes back after a pause, stays away
    paths.py       what follows a start
    witness.py     which events of one subject an answer is made of
    answering.py   registers who answers

    parts -> load -> columns -> funnel, retention, lifecycle, paths -> answers

What the figures mean is said twice more: in semantics, sections 4 and 5, and in tests/oracles, in plain Python.
"""
