"""What a JAX platform must be able to do, as a table of small functions.

Each gets the platform's devices, the first of which is the default one while it runs, and returns arrays and
values, which must be those of platform cpu. `python -m tests.backends.conformance npu` prints the table.
"""
