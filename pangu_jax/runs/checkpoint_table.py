"""What `inspect` and `verify` found, as a table for a person."""

import io

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

RECIPE_LINES = 12


def render(found: dict, width: int = 110) -> str:
    """The dictionary of `checkpoint_files.inspect` or `.verify` as text, without colours, `width` columns at
    most."""
    text = io.StringIO()
    console = Console(file=text, width=width, color_system=None, force_jupyter=False)
    if "usable" in found:
        _render_verified(found, console)
    else:
        _render_inspected(found, console)
    for name, meaning in (("set_aside", "damaged, set aside"), ("unfinished", "unfinished, ignored")):
        if found[name]:
            console.print(f"{meaning}: {', '.join(found[name])}")
    return text.getvalue().rstrip() + "\n"


def _render_verified(found: dict, console: Console) -> None:
    table = Table("step", "state", "files", "size", "why", box=box.SIMPLE)
    for row in found["steps"]:
        why = row["why"] or ("no checksums were written" if row["state"] == "unsummed" else "")
        table.add_row(str(row["step"]), row["state"], str(row["files"]), _size(row["bytes"]), escape(why))
    console.print(escape(found["directory"]), table)
    console.print(f"usable: {', '.join(map(str, found['usable']))}; a restore takes {found['usable'][-1]}")


def _render_inspected(found: dict, console: Console) -> None:
    console.print(escape(f"{found['directory']}/{found['step']}"))
    facts = Table(box=None, show_header=False, pad_edge=False)
    mesh = " x ".join(f"{axis} {size}" for axis, size in found["mesh"].items() if size > 1)
    facts.add_row("steps", ", ".join(map(str, found["steps"])))
    facts.add_row(
        "saved",
        f"{found['saved'][:19]} UTC, {_age(found['age_seconds'])} ago, by pangu_jax {found['version']}",
    )
    facts.add_row("mesh", mesh or "one device")
    for name, value in found["fingerprint"].items():
        facts.add_row(escape(name), escape(value))
    facts.add_row("parameters", f"{found['parameters']:,}")
    facts.add_row("size", _size(found["bytes"]))
    console.print(facts)
    totals = Table("part", "arrays", "elements", "size", box=box.SIMPLE)
    for name, total in found["totals"].items():
        totals.add_row(escape(name), f"{total['arrays']:,}", f"{total['elements']:,}", _size(total["bytes"]))
    console.print(totals)
    # The optimizer's state repeats the shapes of the parameters; --json has them all.
    arrays = {path: array for path, array in found["arrays"].items() if path.startswith("params/")}
    table = Table("array", "shape", "dtype", "size", box=box.SIMPLE)
    for path, array in (arrays or found["arrays"]).items():
        table.add_row(escape(path), "x".join(map(str, array["shape"])), array["dtype"], _size(array["bytes"]))
    console.print(table)
    lines = found["recipe"].splitlines()
    for line in lines[:RECIPE_LINES]:
        console.print(escape(line))
    if len(lines) > RECIPE_LINES:
        console.print(f"... {len(lines) - RECIPE_LINES} more lines of the recipe")


def _size(count: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} TB"


def _age(seconds: float) -> str:
    for name, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {name}{'s' * (count > 1)}"
    return f"{seconds:.0f} s"
