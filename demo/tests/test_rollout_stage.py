"""Lines that the demo prints about a rollout that does not succeed."""

from __future__ import annotations

from savo_demo.stages.rollout import evidence_lines


def _figure(
    estimate: float | None, target: float, verdict: str | None = None, *, bounds: tuple[float, float] | None = None
) -> dict[str, object]:
    lower, upper = bounds or (None, None)
    return {"estimate": estimate, "lower": lower, "upper": upper, "target": target, "verdict": verdict}


def test_each_measure_is_shown_with_both_arms_and_the_candidate_s_bounds() -> None:
    candidate = {
        "accuracy": _figure(0.9, 0.8, "pass", bounds=(0.82, 0.95)),
        "correction_rate": _figure(0.45, 0.3, "undecided", bounds=(0.28, 0.6)),
        "latency_p95_ms": _figure(373.0, 1000.0, "pass", bounds=(0.0, 0.04)),
        "cost_usd": _figure(0.00053, 0.1, "pass", bounds=(0.0, 0.002)),
        "failures": _figure(None, 0.02, "undecided"),
    }
    baseline = {name: _figure(None if name == "accuracy" else 0.5, 1.0) for name in candidate}

    assert evidence_lines({"candidate": candidate, "baseline": baseline})[:2] == [
        "  accuracy: candidate 90.0% (82.0% to 95.0%), baseline unknown; target above 80.0%: pass",
        "  scans with a correction: candidate 45.0% (28.0% to 60.0%), baseline 50.0%; target below 30.0%: undecided",
    ]
    assert evidence_lines({"candidate": candidate, "baseline": baseline})[2:] == [
        "  p95 in ms, with the share of slow scans: candidate 373 (0.0% to 4.0%), baseline 0; target below 1000: pass",
        "  US dollars a scan: candidate 0.00053 (0.00000 to 0.00200), baseline 0.50000; target below 0.10000: pass",
        "  failed scans: candidate unknown, baseline 50.0%; target below 2.0%: undecided",
    ]
