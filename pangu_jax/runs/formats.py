"""Numbers as people read them."""

import math


def duration(seconds: float) -> str:
    """Such as `42 s`, `6 min 12 s` or `3 h 05 min`."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def plain(value: float) -> str:
    """4.5 and 0.001 and 2.5e-4."""
    if value == 0 or abs(value) >= 1e-3:
        return f"{value:.4g}"
    digits, exponent = f"{value:.3e}".split("e")
    return f"{float(digits):g}e{int(exponent)}"


def percent(value: float) -> str:
    """0.5 as 50%."""
    return f"{100 * value:.3g}%"


def count(value: float) -> str:
    """1,500 and 25k and 1.2M."""
    for limit, divisor, suffix in ((1e4, 1, ""), (1e6, 1e3, "k"), (1e9, 1e6, "M"), (math.inf, 1e9, "G")):
        if abs(value) < limit:
            number = value / divisor
            return (f"{number:,.0f}" if number == round(number) or not suffix else f"{number:.3g}") + suffix
    return plain(value)


def cell(value: str | float | int | None) -> str:
    """What a table shows: numbers to four digits, whole ones in full, texts as they are."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return plain(value)
    return value if isinstance(value, str) else f"{value:,}"
