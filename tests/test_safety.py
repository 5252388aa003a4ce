"""What the shipped code must never contain; each check also has to catch a planted example."""

from __future__ import annotations

import ast
import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = [ROOT / path for path in runpy.run_path(str(ROOT / "tools" / "package.py"))["shipped_files"]()]
SHIPPED_CODE = [path for path in SHIPPED if path.suffix == ".py"]

FORBIDDEN_MODULES = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "random"}
FORBIDDEN_CALLS = {
    "eval", "exec", "print", "os.system", "os.popen", "np.random.seed", "numpy.random.seed", "hashlib.md5",
    "hashlib.sha1",
}  # fmt: skip
FORBIDDEN_ARGUMENTS = {"shell", "allow_pickle"}  # = True
FORBIDDEN_WORDS = re.compile(r"\b(TODO|FIXME|XXX|NotImplementedError)\b")


def forbidden_constructs(source: str) -> list[str]:
    """Return "line <n>: <what>" for each construct in *source* that shipped code must not have."""
    found = [
        (number, match.group())
        for number, line in enumerate(source.splitlines(), 1)
        for match in FORBIDDEN_WORDS.finditer(line)
    ]
    for node in ast.walk(ast.parse(source)):
        found += [(node.lineno, what) for what in _forbidden_in(node)]
    return [f"line {number}: {what}" for number, what in sorted(found)]


def _forbidden_in(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names if alias.name.split(".")[0] in FORBIDDEN_MODULES]
    if isinstance(node, ast.ImportFrom) and not node.level:
        return [node.module] if node.module.split(".")[0] in FORBIDDEN_MODULES else []
    if isinstance(node, ast.Assert):
        return ["assert"]
    if isinstance(node, ast.ExceptHandler):
        caught = "" if node.type is None else ast.unparse(node.type)
        return [f"except {caught}".strip()] if caught in ("", "Exception") else []
    if isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.path":
        return ["sys.path"]
    if isinstance(node, ast.Call):
        name = ast.unparse(node.func)
        switched_on = {keyword.arg for keyword in node.keywords if ast.unparse(keyword.value) == "True"}
        return [name] * (name in FORBIDDEN_CALLS) + sorted(FORBIDDEN_ARGUMENTS & switched_on)
    return []


@pytest.mark.parametrize("path", SHIPPED_CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_shipped_code_has_no_forbidden_construct(path):
    assert forbidden_constructs(path.read_text("utf-8")) == []


def test_there_is_shipped_code():
    assert {path.relative_to(ROOT).parts[0] for path in SHIPPED_CODE} >= {"engine", "processing_provider", "plugin"}


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "def late():\n    from joblib import load",
        "import random",
        "exec('1')",
        "value = eval('1')",
        "print('done')",
        "numpy.random.seed(1)",
        "np.load(path, allow_pickle=True)",
        "subprocess.run(text, shell=True)",
        "hashlib.md5(b'')",
        "assert value",
        "try:\n    1\nexcept:\n    2",
        "try:\n    1\nexcept Exception as error:\n    2",
        "sys.path.insert(0, folder)",
        "value = 1  # TODO: mend it",
        "raise NotImplementedError",
    ],
)
def test_a_forbidden_construct_is_seen(line):
    assert len(forbidden_constructs(line)) == 1


@pytest.mark.parametrize(
    "line", ["dialog.exec()", "np.random.default_rng(1)", "hashlib.sha256(b'')", "edit.setPlaceholderText(text)"]
)
def test_an_allowed_construct_is_not_mistaken_for_a_forbidden_one(line):
    assert forbidden_constructs(line) == []


def bandit_findings(paths: list[Path]) -> list[str]:
    """Return what Bandit finds of medium or high severity."""
    command = [sys.executable, "-m", "bandit", "--quiet", "--format", "json", "--severity-level", "medium"]
    done = subprocess.run([*command, *map(str, paths)], capture_output=True, text=True, check=False)
    report = json.loads(done.stdout)
    assert report["errors"] == []
    assert len(report["metrics"]) == len(paths) + 1, "Bandit did not read every file"
    return [f"{found['filename']}:{found['line_number']} {found['issue_text']}" for found in report["results"]]


def test_bandit_finds_nothing_of_medium_or_high_severity():
    assert bandit_findings(SHIPPED_CODE) == []


def test_bandit_finds_what_is_planted(tmp_path):
    planted = tmp_path / "planted.py"
    planted.write_text("import hashlib\nimport pickle\n\npickle.loads(hashlib.md5(b'').digest())\n", "utf-8")

    assert len(bandit_findings([planted])) == 2


def files_with_secrets(paths: list[Path]) -> list[str]:
    command = [sys.executable, "-m", "detect_secrets.pre_commit_hook", "--no-verify", "--json"]
    done = subprocess.run([*command, *map(str, paths)], capture_output=True, text=True, check=False)
    return sorted(json.loads(done.stdout)["results"]) if done.returncode else []


def test_no_shipped_file_holds_a_secret():
    assert files_with_secrets(SHIPPED) == []


def test_a_planted_secret_is_found(tmp_path):
    planted = tmp_path / "planted.py"
    planted.write_text(f'key = "{"AKIA" + 16 * "Z"}"\n', "utf-8")

    assert files_with_secrets([planted]) == [str(planted)]
