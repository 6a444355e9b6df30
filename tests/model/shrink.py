"""Makes a broken sequence as short as possible while the same law stays broken."""

from __future__ import annotations

from collections.abc import Callable

from tests.model.vocabulary import Move

TRIES_MAX = 1_500


def shrink(moves: list[Move], breaks: Callable[[list[Move]], bool]) -> list[Move]:
    """Drop ever smaller parts for as long as `breaks` says that the law is still broken."""
    tries, size = 0, max(1, len(moves) // 2)
    while size >= 1 and tries < TRIES_MAX:
        at, dropped = 0, False
        while at < len(moves) and tries < TRIES_MAX:
            shorter = moves[:at] + moves[at + size :]
            tries += 1
            if shorter and breaks(shorter):
                moves, dropped = shorter, True
            else:
                at += size
        if not dropped:
            size //= 2
    return moves
