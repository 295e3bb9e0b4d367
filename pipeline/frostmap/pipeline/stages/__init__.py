"""The stages of the chain, in the order in which they run."""

from frostmap.pipeline.stage import Stage
from frostmap.pipeline.stages.annual_cycle import ANNUAL_CYCLE
from frostmap.pipeline.stages.calibration import CALIBRATION
from frostmap.pipeline.stages.change import CHANGE
from frostmap.pipeline.stages.change_maps import CHANGE_MAPS
from frostmap.pipeline.stages.cloud_top import CLOUD_TOPS
from frostmap.pipeline.stages.covariates import COVARIATES
from frostmap.pipeline.stages.degree_days import DEGREE_DAYS
from frostmap.pipeline.stages.e_spread import E_SPREAD
from frostmap.pipeline.stages.elevation_cells import ELEVATION_CELLS
from frostmap.pipeline.stages.forcing import FORCING
from frostmap.pipeline.stages.forest import FOREST
from frostmap.pipeline.stages.frozen_ground import FROZEN_GROUND
from frostmap.pipeline.stages.gap_filling import GAP_FILLING
from frostmap.pipeline.stages.ground_correction import GROUND_CORRECTION
from frostmap.pipeline.stages.inconsistency import INCONSISTENCY_MAPS
from frostmap.pipeline.stages.ingest import INGEST
from frostmap.pipeline.stages.magt import MAGT
from frostmap.pipeline.stages.maps import MAPS
from frostmap.pipeline.stages.masks import MASKS
from frostmap.pipeline.stages.observations import OBSERVATIONS_KEPT
from frostmap.pipeline.stages.precipitation import PRECIPITATION_MADE
from frostmap.pipeline.stages.reference import REFERENCE
from frostmap.pipeline.stages.report import REPORT
from frostmap.pipeline.stages.single_years import SINGLE_YEARS
from frostmap.pipeline.stages.sky_classes import SKY_CLASSES
from frostmap.pipeline.stages.snow_cover import SNOW_COVER_MADE
from frostmap.pipeline.stages.snow_days import SNOW_DAYS_SEEN
from frostmap.pipeline.stages.soil import SOIL_MADE
from frostmap.pipeline.stages.terrain import TERRAIN_MADE
from frostmap.pipeline.stages.transfer import TRANSFER
from frostmap.pipeline.stages.validation import VALIDATION
from frostmap.pipeline.stages.vegetation import VEGETATION

STAGES: tuple[Stage, ...] = (
    INGEST,
    VEGETATION,
    MASKS,
    ELEVATION_CELLS,
    TERRAIN_MADE,
    PRECIPITATION_MADE,
    SNOW_DAYS_SEEN,
    SNOW_COVER_MADE,
    SOIL_MADE,
    OBSERVATIONS_KEPT,
    CLOUD_TOPS,
    SKY_CLASSES,
    ANNUAL_CYCLE,
    GAP_FILLING,
    DEGREE_DAYS,
    COVARIATES,
    GROUND_CORRECTION,
    FORCING,
    CALIBRATION,
    E_SPREAD,
    FOREST,
    TRANSFER,
    FROZEN_GROUND,
    MAGT,
    REFERENCE,
    INCONSISTENCY_MAPS,
    SINGLE_YEARS,
    VALIDATION,
    CHANGE_MAPS,
    CHANGE,
    MAPS,
    REPORT,
)
"""Each stage reads only what stages before it wrote."""
