"""An independent model of a payment, written from the domain's rules alone.

`core` decides random sequences of every input; a simulated outside answers its instructions, and a
judge that shares no rule with `core` reads events, instructions and reports. From `core` it imports
only message types, the rules file and `decide`.
"""
