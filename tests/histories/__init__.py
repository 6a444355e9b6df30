"""Whole recorded logs, raw, that today's code must fold, verify and re-decide.

`python -m tests.histories record demo|chaos|model` makes them; README.md says how.
"""
