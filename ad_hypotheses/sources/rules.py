"""Every rule by its name."""

from __future__ import annotations

from ad_hypotheses.sources.bandit_rules import RULES as BANDIT_RULES
from ad_hypotheses.sources.room_rules import RULES as ROOM_RULES
from ad_hypotheses.sources.rule import Rule, soft

RULES: dict[str, Rule] = {rule.name: rule for rule in (*BANDIT_RULES, *ROOM_RULES)}

__all__ = ["RULES", "Rule", "soft"]
