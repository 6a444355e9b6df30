"""What an attacker can do who holds one thing: a token, a credential, a file, the log."""
