"""The operators HTTP interface: sign-in, access, the way of a command, and views."""
