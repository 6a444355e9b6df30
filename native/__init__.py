"""The compiled build: the same sources, the hot values as native classes, compiled by mypyc.

Nothing imports this package. See docs/decisions/0023-compiled-build.md.
"""
