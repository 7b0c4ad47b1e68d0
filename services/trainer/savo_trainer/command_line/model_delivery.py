"""Delivery of a model file to the product: with the repository, or through the bucket on R2 when it is too large."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

__all__ = ["delivery_lines", "delivery_summary", "megabytes"]

GIT_LIMIT_MB = 100
"""GitHub refuses larger files. 1 MB is 10⁶ bytes."""


def megabytes(file: Path) -> float:
    """Size of a file in MB, to one decimal."""
    return round(file.stat().st_size / 1e6, 1)


def delivery_summary(onnx: Path) -> dict[str, Any]:
    """The file's size, and `git` or `r2`."""
    return {"onnx_mb": megabytes(onnx), "delivery": "git" if _fits_git(onnx) else "r2"}


def delivery_lines(onnx: Path) -> list[str]:
    """The file's size and the lines that deliver it, to be copied into a shell."""
    size, file = f"{onnx.name}: {megabytes(onnx)} MB", shlex.quote(_relative(onnx))
    if _fits_git(onnx):
        # -f: .gitignore excludes runs/
        return [f"{size}, under {GIT_LIMIT_MB} MB: add it to the git repository", f"  git add -f {file}"]
    key = f"s3://$R2_BUCKET_NAME/models/{re.sub(r'[^A-Za-z0-9._-]', '-', onnx.name)}"
    endpoint = "https://$R2_ACCOUNT_ID.r2.cloudflarestorage.com"
    return [
        f"{size}, too large for git ({GIT_LIMIT_MB} MB): upload it to R2",
        f'  aws s3 cp {file} "{key}" --endpoint-url "{endpoint}"',
        f"  and set SAVO_CUSTOM_VISION_MODEL_PATH={key}",
    ]


def _fits_git(file: Path) -> bool:
    return file.stat().st_size < GIT_LIMIT_MB * 10**6


def _relative(file: Path) -> str:
    """Relative to the working directory where that is possible."""
    return str(file.relative_to(Path.cwd())) if file.is_relative_to(Path.cwd()) else str(file)
