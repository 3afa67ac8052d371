"""What a report shows of forecasts: maps beside the truth, errors over lead, spectra, a scorecard."""

from collections.abc import Sequence

import jax

from data_pipelines.fields.field_set import FieldSet
from pangu_jax.apps.science import coastlines, comparing, drawing
from pangu_jax.apps.science.rolling import Roller
from pangu_jax.workloads import RunContext, Variables, Workload
from pangu_jax.workloads.exhibits import Exhibit, Image, Table
from pangu_jax.workloads.science import ForecastModel

LONGEST = 120  # hours
SHOWN = (24, 72, 120)  # hours of the table, and those of maps but the last
REGION = "global"


def exhibits(workload: Workload, variables: Variables, run: RunContext) -> Sequence[Exhibit]:
    """Held-out forecasts beside persistence, the climate and a linear map; nothing without fields."""
    if not isinstance(workload, ForecastModel) or jax.process_count() > 1:
        return ()
    data = workload.data
    if not isinstance(data, FieldSet):
        return ()
    lead = data.lead_hours
    leads = list(range(lead, max(LONGEST, lead) + 1, lead))
    shown = [hours for hours in SHOWN if hours in leads] or [leads[0]]
    found = comparing.compare(Roller(workload, variables, run), data, leads, [REGION])
    scores, grid = found.scores, data.grid
    without = f" ({coastlines.said()})" if found.land and coastlines.said() else ""
    count = f"{scores.windows} held-out forecasts"
    made: list[Exhibit] = [
        Image(
            f"{sample.lead} h after {sample.time}: forecast, truth and the difference{without}",
            drawing.maps(sample, scores.channels, grid, found.land),
        )
        for sample in found.samples
        if sample.lead in (shown[:-1] or shown)
    ]
    made.append(
        Image(
            f"RMSE over lead, {count}, cells by their area; steps of {lead} h", drawing.errors(scores, grid)
        )
    )
    if scores.spectra is not None:
        made.append(
            Image(
                f"zonal spectra, 30 to 60 degrees, {shown[0]} h; below the truth: smooth, above: noise",
                drawing.spectra(scores, grid, shown[0]),
            )
        )
    said = "".join(f"; {notice}" for notice in found.notices)
    title = f"scorecard: RMSE of {count}; climatology is the {found.climate}{said}"
    headings = ("field", "units", "lead, h", *scores.methods)
    return [*made, Table(title, headings, drawing.table_rows(scores, grid, shown))]
