"""Files of fields (NetCDF, GRIB, Zarr 2 and 3) to a store: looked through, planned, then read in blocks."""
