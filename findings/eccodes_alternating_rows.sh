#!/usr/bin/env bash
# Guessed: values, latitudes and longitudes of a GRIB message agree point by point, however its rows run.
#
# Happens (ecCodes 2.50.0): where every second row runs back (alternativeRowScanning = 1), values come as the rows run, to and fro, while
# the longitudes say that all rows run one way. A field whose values are its longitudes differs from them on half of its rows. What
# helps: turning every second row of the values, as cfgrib does, before they meet coordinates.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check eccodes==2.50.0 numpy==2.4.6

"$folder/env/bin/python" - <<'PY' | tee "$folder/seen"
import eccodes
import numpy as np

rows, columns = 4, 6
message = eccodes.codes_grib_new_from_samples("regular_ll_pl_grib2")
grid = {
    "Ni": columns, "Nj": rows, "alternativeRowScanning": 1, "iDirectionIncrementInDegrees": 10.0,
    "jDirectionIncrementInDegrees": 10.0, "latitudeOfFirstGridPointInDegrees": 30.0,
    "latitudeOfLastGridPointInDegrees": 0.0, "longitudeOfFirstGridPointInDegrees": 0.0,
    "longitudeOfLastGridPointInDegrees": 50.0, "bitsPerValue": 16,
}
for key, value in grid.items():
    eccodes.codes_set(message, key, value)
field = np.tile(10.0 * np.arange(columns), (rows, 1))
field[1::2] = field[1::2, ::-1]  # as the file has it: every second row runs back
eccodes.codes_set_values(message, field.ravel())
longitudes = eccodes.codes_get_array(message, "longitudes").reshape(rows, columns)
values = eccodes.codes_get_values(message).reshape(rows, columns)
print("eccodes", eccodes.codes_get_api_version())
for row in range(rows):
    said = "agree" if np.allclose(values[row], longitudes[row], atol=0.01) else "differ"
    print(f"row {row}: values and longitudes {said}")
turned = values.copy()
turned[1::2] = turned[1::2, ::-1]
print("every second row turned:", "agree" if np.allclose(turned, longitudes, atol=0.01) else "differ")
PY
diff "$folder/seen" - <<'SEEN'
eccodes 2.50.0
row 0: values and longitudes agree
row 1: values and longitudes differ
row 2: values and longitudes agree
row 3: values and longitudes differ
every second row turned: agree
SEEN
