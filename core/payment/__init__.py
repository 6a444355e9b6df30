"""What a payment is: values and functions, no clock, no random ids, no I/O.

    CREATED ──▶ AUTHORISED ──▶ SENT ──▶ ACKNOWLEDGED ──▶ SETTLED
       │            │ │          │ │          │ │
       │            │ └──────────│─┴──────────│─┴──▶ EXPIRED
       └────────────┴────────────┴────────────┴────▶ FAILED
                    ▲                                  │
                    └──── a new attempt (a retry) ─────┘

Read in this order:

core/values       money, ids and parties; core/closed_sets: the values that a field may have
commands.py       commands to a payment, and reports about it
events/           what has happened: the history, which is the storage format
state.py          what a decision reads of the past; keys.py: earlier results
core/transitions  the one table of legal moves, drawn above
evolve/           state after an event; no rules
decide.py         one input to one decision; what each kind of input does is in
  inputs/         reports, timers and upstream's commands
  operator/       people's commands, all through the steps of operator/gate.py
flow/             what follows from the state alone: funds, send, enquiries, messages
instructions.py   the work for outside systems that goes with the events
"""
