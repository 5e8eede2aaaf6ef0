"""The generated code is that of the proto files."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import warifu
from conftest import REPOSITORY


def files_below(directory: Path) -> dict[str, str]:
    found = (path for path in directory.rglob("*") if path.suffix in (".py", ".pyi"))
    return {str(path.relative_to(directory)): path.read_text() for path in found}


def test_the_generated_code_is_up_to_date(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("generate", REPOSITORY / "python" / "generate.py")
    assert spec is not None and spec.loader is not None
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    generator.generate(tmp_path)
    stored = files_below(REPOSITORY / "python" / "src" / "warifu" / "v1")
    assert files_below(tmp_path / "warifu" / "v1") == stored, "run `python python/generate.py`"


def test_what_is_installed_says_its_version_once() -> None:
    manifest = (REPOSITORY / "python" / "pyproject.toml").read_text()
    assert f'version = "{warifu.__version__}"' in manifest
