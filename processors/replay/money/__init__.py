"""The money strength of a replay: `checks` checks one payment's events with `books` of its own."""
