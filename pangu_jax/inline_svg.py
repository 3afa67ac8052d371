"""Figures of matplotlib as SVG inside a page, whose colours and font they take.

A figure is drawn in placeholder colours, which become CSS variables, so one drawing serves light and dark.
"""

import io
import re
from collections.abc import Mapping

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# Not the caller's matplotlibrc; text stays text, which the page's font draws.
STYLE = {**matplotlib.rcParamsDefault, "svg.fonttype": "none", "font.size": 7.5}
STYLE |= {"figure.facecolor": "none", "axes.facecolor": "none"}
STYLE.pop("backend", None)
_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


def svg(figure: Figure, variables: Mapping[str, str]) -> str:
    """A figure as an <svg> element for a page; placeholder colours become the page's `variables`."""
    stream = io.StringIO()
    FigureCanvasSVG(figure).print_svg(stream, metadata=_METADATA)  # savefig would draw everything twice
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    # The page's font is not the one that matplotlib measured: what is larger is not cut off at the border.
    text = text.replace("<svg", '<svg overflow="visible"', 1)
    # Ids of groups would repeat from chart to chart; clip paths and markers have hashed ones, and need them.
    for clutter in (
        r' id="[a-zA-Z]+[\w.]*_\d+"',
        r"font-family: [^;]*; ",
        r"<defs>\s*<style.*?</defs>",
        r' (?:width|height)="[\d.]+pt"',
        r' xmlns(?::xlink)?="[^"]*"',
        r' transform="rotate\(-0 [^"]*"',
    ):
        text = re.sub(clutter, "", text, flags=re.DOTALL)
    for colour, variable in variables.items():
        text = text.replace(colour, variable)
    return text
