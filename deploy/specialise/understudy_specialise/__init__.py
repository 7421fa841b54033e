"""Specialises a small base model on one task's own exchanges.

A base of 135M parameters, prompted, chooses the right tool and misses the
arguments; a LoRA adapter trained on the task's part alone (the turns, without
the system text and the tools that all calls of the form share) learns them.
Rows come in on stdin and never touch the disk; an adapter folder in PEFT's own
layout goes out, with a card that says what it was made from.

Phases, a module each: rows -> prompt -> tokens -> base, lora -> train (with
schedule, evaluate and checkpoint) -> measure -> adapter. `refusals` names what can
go wrong, `progress` tells how far it is.
"""

__version__ = "0.1.0"
