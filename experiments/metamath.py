"""Copy the scores of PEFT's own comparison, MetaMathQA with Llama-3.2-3B, each with what earlier runs of it gave.

`python -m experiments.metamath FOLDER`, FOLDER being a clone of https://github.com/huggingface/peft and its history.
An entry's runs have the same learning rate, steps and numbers trained; libraries differ, and the seed is 0 in all.
"""

import json
import subprocess
import sys
from pathlib import Path

from lorautils.results import RESULTS

RECORD = RESULTS / "metamath.json"
RESULTS_THERE = "method_comparison/MetaMathQA/results/"
QUESTIONS = 1319  # of GSM8K's test


def git(folder: Path, *arguments: str) -> str:
    """Return what git prints."""
    return subprocess.run(
        ["git", "-C", folder, *arguments], stdout=subprocess.PIPE, encoding="utf-8", check=True
    ).stdout


def run(text: str) -> dict | None:
    """Return what counts of one of PEFT's result files, None if the run failed."""
    whole = json.loads(text)
    there, train = whole["run_info"], whole["train_info"]
    if train["status"] != "success":
        return None
    return {
        "day": there["created_at"][:10],
        "right": round(train["metrics"][-1]["test accuracy"] * QUESTIONS),
        "rate": there["train_config"]["optimizer_kwargs"]["lr"],
        "steps": there["train_config"]["max_steps"],
        "trained": train.get("num_trainable_params"),
        "minutes": round(train["train_time"] / 60, 1),
    }


def entry(folder: Path, path: str) -> dict:
    """Return the newest run of a file, with the right answers of this and of earlier ones like it, oldest first."""
    commits = git(folder, "log", "--format=%h", "--diff-filter=AM", "--", path).split()
    runs = {found["day"]: found for commit in commits if (found := run(git(folder, "show", f"{commit}:{path}")))}
    *_, newest = sorted(runs.values(), key=lambda found: found["day"])
    alike = [
        found
        for _, found in sorted(runs.items())
        if (found["rate"], found["steps"]) == (newest["rate"], newest["steps"])
        and found["trained"] in (None, newest["trained"])
    ]
    name = Path(path).stem.replace("llama-3.2-3B-", "").replace("--", " ")
    kept = {key: newest[key] for key in ("rate", "trained", "minutes")}
    return {"name": name, "runs": [[found["day"], found["right"]] for found in alike], **kept}


def main() -> None:
    """Write the record, best first."""
    folder = Path(sys.argv[1])
    paths = git(folder, "ls-tree", "--name-only", "HEAD", RESULTS_THERE).split()
    entries = [entry(folder, path) for path in paths if path.endswith(".json")]
    entries.sort(key=lambda found: -found["runs"][-1][1])
    commit = git(folder, "log", "-1", "--format=%h of %as").strip()
    source = f"https://github.com/huggingface/peft, {RESULTS_THERE}, commit {commit}, Apache-2.0"
    rows = ",\n".join("  " + json.dumps(found) for found in entries)
    RECORD.write_text(f'{{"source": "{source}", "of": {QUESTIONS}, "entries": [\n{rows}\n]}}\n', encoding="utf-8")
    print(f"{len(entries)} entries")


if __name__ == "__main__":
    main()
