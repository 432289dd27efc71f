"""What patching says in words: which declared arrows are needed, and which undeclared edges matter more."""

from __future__ import annotations

from collections.abc import Sequence

from ad_hypotheses.causal.metrics import METRICS
from ad_hypotheses.evidence.effects import PatchRecord, PatchStudy
from ad_hypotheses.report.words import code, figure, interval, literal

NAMED = 3  # edges that a sentence can hold


def arrows_of(study: PatchStudy) -> list[PatchRecord]:
    """Return the declared arrows, without what is inside nodes."""
    return [one for one in study.of_kind("arrow") if one.name in study.arrows]


def undeclared_of(study: PatchStudy) -> list[PatchRecord]:
    """Return the single edges that no arrow declares: all of them where there is no hypothesis."""
    return [one for one in study.of_kind("edge") if not one.arrow]


def open_of(study: PatchStudy) -> list[PatchRecord]:
    """Return the single edges of which the claim says nothing, since they lead to a node without parents."""
    free = {one.name for one in study.of_kind("open")}
    return [one for one in study.of_kind("edge") if one.arrow in free]


def declared_of(study: PatchStudy) -> list[PatchRecord]:
    """Return the single edges that an arrow declares, or that connect the places of a node."""
    declared = {one.name for one in study.of_kind("arrow")}
    return [one for one in study.of_kind("edge") if one.arrow in declared]


def by_size(records: Sequence[PatchRecord], metric: str) -> list[PatchRecord]:
    """Return patches, the strongest first; what is not estimable last."""
    return sorted(records, key=lambda one: -abs(one.value(metric)) if one.value(metric) == one.value(metric) else 1.0)


def answer(study: PatchStudy) -> str:
    """Return the first lines of a report, as Markdown."""
    lines = [_needed(study), _against(study), _sums(study)] if study.name else [_of_model(study)]
    lines.append(_screened(study))
    return "\n\n".join(line for line in lines if line)


def plain_answer(study: PatchStudy) -> list[str]:
    """Return the same lines without Markdown, for a terminal."""
    text = answer(study).replace("**", "").replace("`", "").replace("\\", "")
    return [line for line in text.split("\n\n") if line]


def counts_as_needed(study: PatchStudy, one: PatchRecord) -> bool:
    """Whether a patch does harm beyond doubt (for denoising: restores something), over all steps."""
    metric = study.metrics[0]
    effect = one.effects[metric]["all"]
    harm = -1 if METRICS[metric].falls_when_needed and study.direction == "noising" else 1
    sure = effect.sure if effect.p is not None else effect.value.low > 0
    return sure and effect.value.estimable and harm * effect.value.value > 0


def _needed(study: PatchStudy) -> str:
    metric, arrows = study.metrics[0], by_size(arrows_of(study), study.metrics[0])
    needed = [one for one in arrows if counts_as_needed(study, one)]
    rest = [one for one in arrows if not counts_as_needed(study, one)]
    adjective = "needed" if study.direction == "noising" else "sufficient for something"
    head = f"**{_share(len(needed), len(arrows))} declared arrows {'is' if len(needed) == 1 else 'are'} {adjective}"
    head += f": {_with_values(needed, metric)}.**" if needed else ".**"
    if not rest:
        return head
    some = "".join(f"; {_in_regimes(study, one)}" for one in rest if _in_regimes(study, one))
    return f"{head} Not shown to be {adjective}: {_with_values(rest, metric)}{some}."


def _in_regimes(study: PatchStudy, one: PatchRecord) -> str:
    metric = study.metrics[0]
    found = [name for name, effect in one.effects[metric].items() if name != "all" and effect.sure]
    values = ", ".join(f"{literal(name)} {_signed(one.value(metric, name))}" for name in found)
    return f"{code(one.name)} has an effect in {values}" if found else ""


def _against(study: PatchStudy) -> str:
    metric, edges = study.metrics[0], undeclared_of(study)
    if not edges:
        return ""
    ranked, what = by_size(edges, metric), f"undeclared edges{_measured(study)}"
    sure = [one for one in ranked if counts_as_needed(study, one)]
    if not sure:
        return f"**None of the {len(edges):,} {what} matters beyond doubt, each patched alone.**"
    text = f"**{_share(len(sure), len(edges))} {what} matter beyond doubt, each patched alone; the strongest: "
    text += f"{_with_values(sure[:NAMED], metric)}.**"
    needed = [one for one in by_size(arrows_of(study), metric) if counts_as_needed(study, one)]
    if needed:
        stronger = [
            (arrow, [one for one in sure if abs(one.value(metric)) > abs(arrow.value(metric))]) for arrow in needed
        ]
        beaten = [(arrow, found) for arrow, found in stronger if found]
        if not beaten:
            weakest = needed[-1]
            return f"{text} None does more than the weakest needed arrow, {_with_values([weakest], metric)}."
        listed = "; ".join(f"{len(found):,} than {_with_values([arrow], metric)}" for arrow, found in beaten)
        text += f" Alone, some do more than all edges of a needed arrow at once: {listed}."
    return text


def _sums(study: PatchStudy) -> str:
    sets = {one.name: one for one in study.of_kind("set")}
    if not sets:
        return ""
    metric = study.metrics[0]
    listed = "; ".join(f"{name} {_signed(one.value(metric))}" for name, one in sets.items())
    moral = (
        "If the claim were the whole story, the undeclared edges together would do next to nothing."
        if study.direction == "noising"
        else "If the claim were the whole story, the declared edges together would restore nearly all."
    )
    return f"Patched at once: {listed}. {moral}"


def _measured(study: PatchStudy) -> str:
    return " that were measured" if study.screening and study.screening.unmeasured else ""


def _screened(study: PatchStudy) -> str:
    """That only some edges were measured, which ones, and what the random ones among them say of the rest."""
    how = study.screening
    if how is None:
        return ""
    what = "edges that no arrow declares" if study.name else "edges"
    if not how.unmeasured:
        return f"Screening left nothing out: all {how.asked:,} {what} were measured."
    method = "gradients" if how.steps == 1 else f"integrated gradients, {how.steps} runs a history"
    text = (
        f"**Screened:** of {how.asked:,} {what}, the {len(how.picked):,} with the largest attributions ({method}) were "
        f"measured, and {len(how.sampled):,} drawn at random from all of them; {len(how.unmeasured):,} were not. "
        "Across those drawn at random the rank correlation of attributions and effects is "
        f"{interval(how.agreement)} by size, which is what picks, and {interval(how.signed)} with signs."
    )
    records = [one for one in study.of_kind("edge") if one.name in how.passed_over]
    if not records:
        return text
    sure = [one for one in records if counts_as_needed(study, one)]
    metric = study.metrics[0]
    text += (
        f" {_share(len(sure), len(records))} that were drawn but not picked {'matters' if len(sure) <= 1 else 'matter'}"
    )
    return text + f" beyond doubt; the strongest of them is {_with_values(by_size(records, metric)[:1], metric)}."


def _of_model(study: PatchStudy) -> str:
    metric = study.metrics[0]
    lines = []
    for kind, what in (("edge", "edges"), ("node", "nodes"), ("path", "paths")):
        found = study.of_kind(kind)
        if not found:
            continue
        sure = [one for one in by_size(found, metric) if counts_as_needed(study, one)]
        if len(found) == 1:
            says = "matters beyond doubt" if sure else "is not shown to matter"
            lines.append(f"**The {kind} {_with_values(found, metric)} {says}.**")
            continue
        verb = "matters" if len(sure) == 1 else "matter"
        what += _measured(study) if kind == "edge" else ""
        text = f"**{_share(len(sure), len(found))} {what} {verb} beyond doubt, each patched alone"
        lines.append(text + (f"; the strongest: {_with_values(sure[:NAMED], metric)}.**" if sure else ".**"))
        if kind == "edge" and len(found) > 2 * NAMED and not _measured(study):
            lines.append(_concentration(found, metric))
    return "\n\n".join(lines)


def _concentration(edges: Sequence[PatchRecord], metric: str) -> str:
    sizes = [abs(one.value(metric)) for one in by_size(edges, metric) if one.value(metric) == one.value(metric)]
    total, reached, count = sum(sizes), 0.0, 0
    while total and reached < total / 2:
        reached, count = reached + sizes[count], count + 1
    return f"Half of all effects, added up by size, is in {count:,} of {len(edges):,} edges." if total else ""


def _share(some: int, of: int) -> str:
    return f"All {of:,}" if some == of and of > 1 else f"{some:,} of {of:,}" if some else f"None of the {of:,}"


def _with_values(records: Sequence[PatchRecord], metric: str) -> str:
    return ", ".join(f"{code(one.name)} ({_signed(one.value(metric))})" for one in records)


def _signed(value: float) -> str:
    return f"+{figure(value, 3)}" if value >= 0 else figure(value, 3)
