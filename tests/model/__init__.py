"""An independent model of a payment, written from the domain's rules alone.

Random sequences of every input are decided by `core`; a simulated outside answers its instructions,
and a judge that shares no rule with `core` reads events, instructions and reports. It imports
nothing of `core` but its message types, the rules file and `decide`.
"""
