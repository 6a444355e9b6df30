"""The commands of `npp`, one file per group. Each uses app.cluster, and ends with an exit code of
app.exits.
"""
