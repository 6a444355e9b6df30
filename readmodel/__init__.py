"""The read model: what people look at, folded from the log by the projector."""
