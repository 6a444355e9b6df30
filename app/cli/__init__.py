"""The commands of `npp`, one file a group. Each says what it does, talks through app.cluster, and
ends with an exit code of app.exits.
"""
