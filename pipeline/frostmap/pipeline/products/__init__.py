"""What a run gives to others: maps on several grids, citations, its numbers beside those of the paper, an archive.

`layers` says which maps there are, `grids` on which grids they are written, `cogs` and `netcdf` how; `export` does it.
`stac` and `prov` describe what was written, `archive` packs it.
"""
