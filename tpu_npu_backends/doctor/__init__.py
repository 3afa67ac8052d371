"""What a machine has to compute with, and what is wrong with it.

`inventory` looks, in a second, without starting a backend. `examination.examine` tries: it starts each
backend in a process of its own, which may hang or crash without harm.
"""
