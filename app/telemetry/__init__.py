"""What a process tells of itself to systems outside."""
