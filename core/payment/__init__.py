"""What a payment is: values and functions, no clock, no ids drawn, no I/O.

    CREATED ──▶ AUTHORISED ──▶ SENT ──▶ ACKNOWLEDGED ──▶ SETTLED
       │            │ │          │ │          │ │
       │            │ └──────────│─┴──────────│─┴──▶ EXPIRED
       └────────────┴────────────┴────────────┴────▶ FAILED
                    ▲                                  │
                    └──── a new attempt (a retry) ─────┘

Read in this order:

core/values       money, ids and parties; core/words: the closed sets of words in the records
commands.py       what is asked of a payment, and what is reported about it
events/           what has happened: the history, which is the storage format
state.py          what a decision reads of the past; keys.py: what was done before
core/transitions  the one table of legal moves, drawn above
evolve/           state after an event; no rules
decide.py         one input to one decision; what each kind of input does is in
  inputs/         reports, timers and upstream's commands
  operator/       people's commands, all through the steps of operator/gate.py
flow/             what follows from the state alone: funds, send, enquiries, messages
instructions.py   the work for the outside that goes with the events
"""
