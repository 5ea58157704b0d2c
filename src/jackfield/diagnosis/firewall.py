"""Which rules of others drop what a network needs, in words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from jackfield.diagnosis.advice import Blame, advise
from jackfield.diagnosis.finding import Finding, Likelihood
from jackfield.diagnosis.judge import Outcome, Place, judge
from jackfield.diagnosis.packet import Sample
from jackfield.state.ruleset import Ruleset

__all__ = ["find_blames", "tell_blame"]


def find_blames(ruleset: Ruleset, bridge: str, samples: Iterable[Sample]) -> list[Blame]:
    """Return what of ``samples`` is dropped, each place once."""
    found: dict[tuple[Outcome, Place, tuple[Place, ...]], list[Sample]] = {}
    for sample in samples:
        verdicts = judge(ruleset, sample)
        if verdicts.place is not None:
            key = (verdicts.outcome, verdicts.place, verdicts.doubts)
            found.setdefault(key, []).append(sample)
    return [
        Blame(outcome=outcome, place=place, doubts=doubts, samples=tuple(dropped), bridge=bridge)
        for (outcome, place, doubts), dropped in found.items()
    ]


def tell_blame(network: str, blame: Blame, text_of: Callable[[Place], str]) -> Finding:
    """Return a blame for people; ``text_of`` is how a rule is written."""
    words = _listed(list(dict.fromkeys(sample.words for sample in blame.samples)))
    where = _where(blame.place, text_of)
    if blame.outcome is Outcome.DROPPED:
        return Finding(
            likelihood=Likelihood.FAULT,
            network=network,
            text=f"{words} are dropped by {where}",
            hint=advise(blame),
        )
    doubts = [item for item in blame.doubts if item != blame.place]
    depends = ""
    if doubts:
        depends = f", which depends on {_listed([_where(item, text_of) for item in doubts])}"
    return Finding(
        likelihood=Likelihood.PERHAPS,
        network=network,
        text=f"{words} are perhaps dropped by {where}{depends}",
        hint=f"if guests lack this: {advise(blame)}",
    )


def _where(place: Place, text_of: Callable[[Place], str]) -> str:
    table = place.table
    if table.program == "nft":
        chain = f"chain {table.family} {table.name} {place.chain}"
    else:
        chain = f"{table.program}, table {table.name}, chain {place.chain}"
    if place.rule is None:
        return f"the policy of {chain}"
    text = place.rule.text or text_of(place)
    handle = f" (handle {place.rule.handle})" if table.program == "nft" else ""
    return f"{chain}, rule{handle}: {text}" if text else f"{chain}, rule{handle}"


def _listed(words: Sequence[str]) -> str:
    """Return words with commas and an ``and``."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"
