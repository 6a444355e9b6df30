"""The log proven part by part: the partitions are divided, and each part is proven by itself, here
or in a separate process.
"""
