from ad_hypotheses.evidence.record import *  # noqa: F403
from ad_hypotheses.evidence.record import SCHEMA  # noqa: F401
