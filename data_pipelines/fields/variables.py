"""Variables of the atmosphere by their short names: other names, units, and what is plausible."""

import dataclasses
from typing import Literal, NamedTuple

from data_pipelines.errors import DataError

Where = Literal["upper", "surface", "constant"]


class Variable(NamedTuple):
    """A variable.

    Attributes:
      short: as ECMWF has it; the name in a store.
      long: as ERA5's downloads and WeatherBench 2 have it.
      standard_name: of the CF conventions; "" where there is none.
      units: in a store.
      where: on levels, on the surface, or a field that does not change.
      low: below it no value can be, in these units; `high` above.
      accumulated: whether it is a sum since some time before.
      northward: whether it changes its sign where the hemispheres are exchanged.
    """

    short: str
    long: str
    standard_name: str
    units: str
    where: Where
    low: float
    high: float
    accumulated: bool = False
    northward: bool = False


_TABLE = (
    Variable("z", "geopotential", "geopotential", "m**2 s**-2", "upper", -1.5e4, 6e5),
    Variable("q", "specific_humidity", "specific_humidity", "kg kg**-1", "upper", -0.01, 0.06),
    Variable("t", "temperature", "air_temperature", "K", "upper", 100, 360),
    Variable("u", "u_component_of_wind", "eastward_wind", "m s**-1", "upper", -250, 250),
    Variable("v", "v_component_of_wind", "northward_wind", "m s**-1", "upper", -250, 250, northward=True),
    Variable("w", "vertical_velocity", "lagrangian_tendency_of_air_pressure", "Pa s**-1", "upper", -100, 100),
    Variable("r", "relative_humidity", "relative_humidity", "%", "upper", -20, 200),
    Variable("d", "divergence", "divergence_of_wind", "s**-1", "upper", -0.02, 0.02),
    Variable(
        "vo", "vorticity", "atmosphere_upward_relative_vorticity", "s**-1", "upper", -0.02, 0.02,
        northward=True,
    ),
    Variable("msl", "mean_sea_level_pressure", "air_pressure_at_mean_sea_level", "Pa", "surface", 8e4, 1.1e5),
    Variable("sp", "surface_pressure", "surface_air_pressure", "Pa", "surface", 3e4, 1.2e5),
    Variable("u10", "10m_u_component_of_wind", "eastward_wind", "m s**-1", "surface", -150, 150),
    Variable(
        "v10", "10m_v_component_of_wind", "northward_wind", "m s**-1", "surface", -150, 150, northward=True
    ),
    Variable("t2m", "2m_temperature", "air_temperature", "K", "surface", 150, 350),
    Variable("d2m", "2m_dewpoint_temperature", "dew_point_temperature", "K", "surface", 150, 330),
    Variable("skt", "skin_temperature", "surface_temperature", "K", "surface", 150, 370),
    Variable(
        "tcwv", "total_column_water_vapour", "atmosphere_mass_content_of_water_vapor", "kg m**-2", "surface",
        -1, 150,
    ),
    Variable("tcc", "total_cloud_cover", "cloud_area_fraction", "1", "surface", -0.01, 1.01),
    Variable("ci", "sea_ice_cover", "sea_ice_area_fraction", "1", "surface", -0.01, 1.01),
    Variable("sst", "sea_surface_temperature", "sea_surface_temperature", "K", "surface", 250, 330),
    Variable(
        "tp", "total_precipitation", "lwe_thickness_of_precipitation_amount", "m", "surface", -1e-3, 5,
        accumulated=True,
    ),
    Variable("lsm", "land_sea_mask", "land_binary_mask", "1", "constant", -0.01, 1.01),
    Variable("slt", "soil_type", "soil_type", "1", "constant", 0, 10),
    Variable(
        "z_surface", "geopotential_at_surface", "surface_geopotential", "m**2 s**-2", "constant", -1.5e4, 1e5
    ),
)  # fmt: skip
VARIABLES = {variable.short: variable for variable in _TABLE}
_BY_NAME = VARIABLES | {variable.long: variable for variable in _TABLE} | {"2t": VARIABLES["t2m"]}
_BY_NAME |= {"2d": VARIABLES["d2m"], "siconc": VARIABLES["ci"], "rh": VARIABLES["r"]}
_BY_NAME |= {"10u": VARIABLES["u10"], "10v": VARIABLES["v10"], "ps": VARIABLES["sp"]}


def known(name: str) -> Variable | None:
    """By its short name, ERA5's long one, or one that GRIB has for it; None for one that is not known."""
    return _BY_NAME.get(name)


@dataclasses.dataclass(frozen=True)
class FieldNames:
    """Short names of a store's variables, in the order of channels.

    Attributes:
      upper: on levels.
      surface: on the surface.
      constants: fields that do not change.

    Raises:
      DataError: a name stands twice.
    """

    upper: tuple[str, ...]
    surface: tuple[str, ...]
    constants: tuple[str, ...] = ()

    def __post_init__(self):
        twice = {name for name in self.every if self.every.count(name) > 1}
        if twice:
            raise DataError(f"the variable {min(twice)} stands twice among upper, surface and constants")

    @property
    def every(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.upper, *self.surface, *self.constants)

    def chosen(self, upper: tuple[str, ...] | None, surface: tuple[str, ...] | None) -> "FieldNames":
        """Some of the variables in an order of one's own; DataError for one that is not there."""
        for asked, there, where in ((upper, self.upper, "upper"), (surface, self.surface, "surface")):
            for name in asked or ():
                if name not in there:
                    raise DataError(
                        f"fields.{where}: the store has no {name}; it has {', '.join(there) or 'none'}"
                    )
        return FieldNames(
            self.upper if upper is None else tuple(upper),
            self.surface if surface is None else tuple(surface),
            self.constants,
        )
