"""Type errors of the rooms may get fewer, never more: `make lint` runs this. What is left is explained in
docs/architecture.md."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path


ROOT = Path(__file__).parents[1]
LIMIT = 27
ELSEWHERE = {"tests", "benchmarks", "samples", "docs", "build"}
EXTRAS = ('"gradio"',)  # which the extra `test` does not install


def room_errors() -> list[dict]:
    """What pyright says is wrong in the rooms, and imports of ours that it cannot follow anywhere."""
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    said = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout)
    errors = [found for found in said["generalDiagnostics"] if found["severity"] == "error"]
    return [
        found
        for found in errors
        if (Path(found["file"]).relative_to(ROOT).parts[0] not in ELSEWHERE and not _lacks(found, *EXTRAS))
        or _lacks(found, "audiollm")
    ]


def _lacks(found: dict, *modules: str) -> bool:
    return found.get("rule") == "reportMissingImports" and any(module in found["message"] for module in modules)


def main() -> int:
    errors = room_errors()
    rules = ", ".join(
        f"{count} {rule}" for rule, count in Counter(found.get("rule") for found in errors).most_common()
    )
    print(f"pyright: {len(errors)} errors in the rooms, at most {LIMIT}: {rules}")
    if len(errors) <= LIMIT:
        return 0
    for found in errors:
        print(f"{found['file']}:{found['range']['start']['line'] + 1}: {found['message'].splitlines()[0]}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
