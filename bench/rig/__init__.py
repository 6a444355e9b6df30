"""What the measurements share: the tree and processes under measurement, the cluster, the load."""
