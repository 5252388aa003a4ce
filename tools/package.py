"""Packs what QGIS installs into build/rasterml-<version>.zip: the same files give the same bytes."""

from __future__ import annotations

import configparser
import subprocess
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = "rasterml"  # QGIS installs a plugin under the top folder of its zip
SHIPPED = (
    "metadata.txt", "__init__.py", "engine", "processing_provider", "plugin", "resources",
    "LICENSE", "README.md", "CHANGELOG.md",
)  # fmt: skip


def shipped_files() -> list[str]:
    """Return the paths, in order, of what git knows or is about to know; caches and build/ are ignored by it."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *SHIPPED]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return sorted(path for path in set(listed.split("\0")) - {""} if (ROOT / path).is_file())


def version() -> str:
    """Return the version in metadata.txt, the only place that has it besides the changelog."""
    metadata = configparser.ConfigParser(interpolation=None)
    metadata.read(ROOT / "metadata.txt", encoding="utf-8")
    return metadata["general"]["version"]


def pack(target: Path) -> Path:
    """Write the zip at *target* and return it; every entry has the same date and rights."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w") as archive:
        for path in shipped_files():
            entry = zipfile.ZipInfo(f"{FOLDER}/{path}", date_time=(1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, (ROOT / path).read_bytes(), zipfile.ZIP_DEFLATED)
    return target


if __name__ == "__main__":
    packed = pack(ROOT / "build" / f"rasterml-{version()}.zip")
    print(f"{packed.relative_to(ROOT)}: {packed.stat().st_size:,} bytes")
