"""Every known network by its name."""

from __future__ import annotations

from ad_hypotheses.known.bandits import BANDITS
from ad_hypotheses.known.network import Known
from ad_hypotheses.known.rooms import ROOMS
from ad_hypotheses.known.trained import TRAINED

KNOWN: dict[str, Known] = {network.name: network for network in (*BANDITS, *ROOMS, *TRAINED)}
