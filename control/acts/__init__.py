"""Control acts: who signs them, how a signature is checked, and how an act is shown as JSON."""
