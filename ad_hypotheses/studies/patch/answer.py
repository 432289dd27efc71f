"""What patching says in words: which declared arrows are needed, and which undeclared edges matter more."""

from __future__ import annotations

from collections.abc import Sequence

from ad_hypotheses.causal.metrics import METRICS
from ad_hypotheses.report.words import code, figure, interval, literal
from ad_hypotheses.studies.patch.record import PatchRecord, PatchStudy

NAMED = 3  # edges that a sentence can hold


def arrows_of(study: PatchStudy) -> list[PatchRecord]:
    """Return the declared arrows, without what is inside nodes."""
    return [record for record in study.of_kind("arrow") if record.name in study.arrows]


def undeclared_of(study: PatchStudy) -> list[PatchRecord]:
    """Return the single edges that no arrow declares: all of them where there is no hypothesis."""
    return [record for record in study.of_kind("edge") if not record.arrow]


def open_of(study: PatchStudy) -> list[PatchRecord]:
    """Return the single edges of which the claim says nothing, since they lead to a node without parents."""
    free = {record.name for record in study.of_kind("open")}
    return [record for record in study.of_kind("edge") if record.arrow in free]


def declared_of(study: PatchStudy) -> list[PatchRecord]:
    """Return the single edges that an arrow declares, or that connect the places of a node."""
    declared = {record.name for record in study.of_kind("arrow")}
    return [record for record in study.of_kind("edge") if record.arrow in declared]


def by_size(records: Sequence[PatchRecord], metric: str) -> list[PatchRecord]:
    """Return patches, the strongest first; what is not estimable last."""
    return sorted(
        records, key=lambda record: -abs(record.value(metric)) if record.value(metric) == record.value(metric) else 1.0
    )


def answer(study: PatchStudy) -> str:
    """Return the first lines of a report, as Markdown."""
    lines = [_needed(study), _against(study), _sums(study)] if study.name else [_of_model(study)]
    lines.append(_screened(study))
    return "\n\n".join(line for line in lines if line)


def plain_answer(study: PatchStudy) -> list[str]:
    """Return the same lines without Markdown, for a terminal."""
    text = answer(study).replace("**", "").replace("`", "").replace("\\", "")
    return [line for line in text.split("\n\n") if line]


def counts_as_needed(study: PatchStudy, record: PatchRecord) -> bool:
    """Whether a patch does harm beyond doubt (for denoising: restores something), over all steps."""
    metric = study.metrics[0]
    effect = record.effects[metric]["all"]
    harm = -1 if METRICS[metric].falls_when_needed and study.direction == "noising" else 1
    sure = effect.sure if effect.p is not None else effect.value.low > 0
    return sure and effect.value.estimable and harm * effect.value.value > 0


def _needed(study: PatchStudy) -> str:
    metric, arrows = study.metrics[0], by_size(arrows_of(study), study.metrics[0])
    needed = [record for record in arrows if counts_as_needed(study, record)]
    rest = [record for record in arrows if not counts_as_needed(study, record)]
    adjective = "needed" if study.direction == "noising" else "sufficient for something"
    head = f"**{_share(len(needed), len(arrows))} declared arrows {'is' if len(needed) == 1 else 'are'} {adjective}"
    head += f": {_with_values(needed, metric)}.**" if needed else ".**"
    if not rest:
        return head
    in_regimes = "".join(f"; {_in_regimes(study, record)}" for record in rest if _in_regimes(study, record))
    return f"{head} Not shown to be {adjective}: {_with_values(rest, metric)}{in_regimes}."


def _in_regimes(study: PatchStudy, record: PatchRecord) -> str:
    metric = study.metrics[0]
    names = [name for name, effect in record.effects[metric].items() if name != "all" and effect.sure]
    values = ", ".join(f"{literal(name)} {_signed(record.value(metric, name))}" for name in names)
    return f"{code(record.name)} has an effect in {values}" if names else ""


def _against(study: PatchStudy) -> str:
    metric, edges = study.metrics[0], undeclared_of(study)
    if not edges:
        return ""
    ranked, noun = by_size(edges, metric), f"undeclared edges{_measured(study)}"
    sure = [record for record in ranked if counts_as_needed(study, record)]
    if not sure:
        return f"**None of the {len(edges):,} {noun} matters beyond doubt, each patched alone.**"
    text = f"**{_share(len(sure), len(edges))} {noun} matter beyond doubt, each patched alone; the strongest: "
    text += f"{_with_values(sure[:NAMED], metric)}.**"
    needed = [record for record in by_size(arrows_of(study), metric) if counts_as_needed(study, record)]
    if needed:
        stronger = [
            (arrow, [record for record in sure if abs(record.value(metric)) > abs(arrow.value(metric))])
            for arrow in needed
        ]
        beaten = [(arrow, larger) for arrow, larger in stronger if larger]
        if not beaten:
            weakest = needed[-1]
            return f"{text} None does more than the weakest needed arrow, {_with_values([weakest], metric)}."
        listed = "; ".join(f"{len(larger):,} than {_with_values([arrow], metric)}" for arrow, larger in beaten)
        text += f" Alone, some do more than all edges of a needed arrow at once: {listed}."
    return text


def _sums(study: PatchStudy) -> str:
    sets = {record.name: record for record in study.of_kind("set")}
    if not sets:
        return ""
    metric = study.metrics[0]
    listed = "; ".join(f"{name} {_signed(record.value(metric))}" for name, record in sets.items())
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
    screening = study.screening
    if screening is None:
        return ""
    noun = "edges that no arrow declares" if study.name else "edges"
    if not screening.unmeasured:
        return f"Screening left nothing out: all {screening.asked:,} {noun} were measured."
    method = method_of(screening.rule, screening.steps).removeprefix("their ")
    method += "" if screening.steps == 1 else f", {screening.steps} runs a history"
    text = (
        f"**Screened:** of {screening.asked:,} {noun}, the {len(screening.picked):,} with the largest attributions "
        f"({method}) were measured, and {len(screening.sampled):,} drawn at random from all of them; "
        f"{len(screening.unmeasured):,} were not. "
        "Across those drawn at random the rank correlation of attributions and effects is "
        f"{interval(screening.agreement)} by size, which is what picks, and {interval(screening.signed)} with signs."
    )
    records = [record for record in study.of_kind("edge") if record.name in screening.passed_over]
    if not records:
        return text
    sure = [record for record in records if counts_as_needed(study, record)]
    metric = study.metrics[0]
    text += (
        f" {_share(len(sure), len(records))} that were drawn but not picked {'matters' if len(sure) <= 1 else 'matter'}"
    )
    return text + f" beyond doubt; the strongest of them is {_with_values(by_size(records, metric)[:1], metric)}."


def _of_model(study: PatchStudy) -> str:
    metric = study.metrics[0]
    lines = []
    for kind, noun in (("edge", "edges"), ("node", "nodes"), ("path", "paths")):
        records = study.of_kind(kind)
        if not records:
            continue
        sure = [record for record in by_size(records, metric) if counts_as_needed(study, record)]
        if len(records) == 1:
            says = "matters beyond doubt" if sure else "is not shown to matter"
            lines.append(f"**The {kind} {_with_values(records, metric)} {says}.**")
            continue
        verb = "matters" if len(sure) == 1 else "matter"
        noun += _measured(study) if kind == "edge" else ""
        text = f"**{_share(len(sure), len(records))} {noun} {verb} beyond doubt, each patched alone"
        lines.append(text + (f"; the strongest: {_with_values(sure[:NAMED], metric)}.**" if sure else ".**"))
        if kind == "edge" and len(records) > 2 * NAMED and not _measured(study):
            lines.append(_concentration(records, metric))
    return "\n\n".join(lines)


def _concentration(edges: Sequence[PatchRecord], metric: str) -> str:
    sizes = [
        abs(record.value(metric)) for record in by_size(edges, metric) if record.value(metric) == record.value(metric)
    ]
    total, reached, count = sum(sizes), 0.0, 0
    while total and reached < total / 2:
        reached, count = reached + sizes[count], count + 1
    return f"Half of all effects, added up by size, is in {count:,} of {len(edges):,} edges." if total else ""


def _share(count: int, of: int) -> str:
    return f"All {of:,}" if count == of and of > 1 else f"{count:,} of {of:,}" if count else f"None of the {of:,}"


def _with_values(records: Sequence[PatchRecord], metric: str) -> str:
    return ", ".join(f"{code(record.name)} ({_signed(record.value(metric))})" for record in records)


def _signed(value: float) -> str:
    return f"+{figure(value, 3)}" if value >= 0 else figure(value, 3)


def method_of(rule: str, steps: int) -> str:
    """Return in words how edges are screened."""
    if rule == "relevance":
        return "relevance" if steps == 1 else "integrated relevance"
    return "their gradients" if steps == 1 else "integrated gradients"
