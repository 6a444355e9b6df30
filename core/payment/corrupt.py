"""The exception of a history that cannot be: a defect or a foreign hand, never a business
answer.
"""

from __future__ import annotations


class CorruptHistory(Exception):
    """The events of a payment contradict each other. The payment is parked, or the verifier
    stops.
    """
