"""What the settings are read from beside the environment, and what production refuses of them."""
