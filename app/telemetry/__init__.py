"""What a process reports to outside systems: traces."""
