"""--memory_fraction F: how much of each GPU there is for a program."""

import argparse


def add_memory_fraction(parser: argparse.ArgumentParser) -> None:
    """For verbs that look at chips which need not be there."""
    parser.add_argument(
        "--memory_fraction",
        type=float,
        metavar="F",
        help="of a GPU's memory, what a program may use; what JAX takes unless given: "
        "XLA_PYTHON_CLIENT_MEM_FRACTION, or 0.75",
    )
