"""Sentences and table rows of a comparison, for the terminal and for the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = [
    "class_rows",
    "gain_sentence",
    "judged_sentence",
    "label_rows",
    "model_rows",
    "photos_sentence",
    "unknown_sentences",
]

Summary = Mapping[str, Any]

SIDES = ("before", "after")

_NO_LABELS = (
    "No labels: the output shows what changed, not which is better. "
    "For that, give a dataset.yaml or a folder with classes.txt and labels/."
)


def model_rows(summary: Summary) -> list[tuple[str, str, str]]:
    """Name of the figure, and its value for each model."""
    models, points, latency = summary["models"], summary["map50"], summary["latency_ms"]
    rows = []
    if points:
        rows.append(("mAP@0.5 (95 % interval)", *(_map50(points[side]) for side in SIDES)))
    if latency:
        rows.append(
            (
                f"latency on {latency['photos']} photos, p50 / p95",
                *(f"{latency[side]['p50']:.1f} / {latency[side]['p95']:.1f} ms" for side in SIDES),
            )
        )
    rows.append(("size", *(f"{models[side]['bytes'] / 1e6:.1f} MB" for side in SIDES)))
    rows.append(("input", *("{1} × {0} px".format(*models[side]["image_size"]) for side in SIDES)))
    rows.append(("classes", *(str(len(models[side]["classes"])) for side in SIDES)))
    rows.append(("sha256", *(models[side]["sha256"][:12] for side in SIDES)))
    return [(name, before, after) for name, before, after in rows]


def photos_sentence(summary: Summary) -> str:
    sums, data = summary["photos"], summary["data"]
    labelled = f" with {data['boxes']} labelled boxes" if data["boxes"] else ""
    unreadable = f", {sums['unreadable']} could not be read" if sums["unreadable"] else ""
    counts = f"{sums['changed']} have other boxes, {sums['unchanged']} the same{unreadable}"
    return f"{sums['compared']} photos{labelled} of {data['name']}: {counts}."


def gain_sentence(summary: Summary) -> str:
    """The gain and whether it is more than chance."""
    gain = summary["gain"]
    if gain is None:
        return "" if summary["data"]["boxes"] else _NO_LABELS
    change = f"{_points(gain['point'])} points of mAP@0.5 from {_name(summary, 'before')} to {_name(summary, 'after')}"
    if gain["lower"] is None:
        return f"{change}, on photos of one group: they resemble each other, so other photos may give another result."
    interval = f"95 % interval {_points(gain['lower'])} to {_points(gain['upper'])}, paired, by group"
    verdict = "more than chance" if gain["lower"] > 0 or gain["upper"] < 0 else "on these photos it may be chance"
    return f"{change} ({interval}): {verdict}."


def judged_sentence(summary: Summary) -> str:
    judged = summary["judged"]
    if judged is None:
        return ""
    gained, lost = judged["gained_right"] + judged["gained_wrong"], judged["lost_right"] + judged["lost_wrong"]
    return (
        f"Of {gained} boxes gained {judged['gained_right']} are right; "
        f"of {lost} lost {judged['lost_right']} were right; "
        f"of those in both {judged['now_right']} are right only now and {judged['now_wrong']} no longer."
    )


def unknown_sentences(summary: Summary) -> list[str]:
    """Labels that a model was not trained on, which explains their AP of 0."""
    labels = [row["label"] for row in summary["classes"]]
    lines = []
    for side in SIDES:
        known = set(summary["models"][side]["classes"])
        if unknown := [label for label in labels if label not in known]:
            named = ", ".join(sorted(unknown)[:10])
            lines.append(f"{_name(summary, side)} was not trained on {len(unknown)} of the labels: {named}.")
    return lines


def class_rows(summary: Summary, most: int) -> list[tuple[str, ...]]:
    """Label, boxes, AP before, AP after, gain with its interval; the largest changes first."""
    return [
        (row["label"], str(row["boxes"]), f"{row['before']:.3f}", f"{row['after']:.3f}", _with_interval(row))
        for row in summary["classes"][:most]
    ]


def label_rows(summary: Summary, most: int) -> list[tuple[str, ...]]:
    columns = ("gained", "lost", "moved", "renamed_from", "renamed_to")
    return [(row["label"], *(str(row.get(name, 0)) for name in columns)) for row in summary["labels"][:most]]


def _name(summary: Summary, side: str) -> str:
    return str(summary["models"][side]["name"])


def _map50(points: Mapping[str, Any]) -> str:
    return f"{points['point']:.3f}" + (
        "" if points["lower"] is None else f" ({points['lower']:.3f} to {points['upper']:.3f})"
    )


def _with_interval(row: Mapping[str, Any]) -> str:
    if row["lower"] is None:
        return f"{_points(row['gain'])} (one group: no interval)"
    return f"{_points(row['gain'])} ({_points(row['lower'])} to {_points(row['upper'])})"


def _points(fraction: float) -> str:
    return f"{fraction * 100:+.1f}"
