"""Notebook 10: PEFT's comparison is copied with the earlier runs of the same settings, and with no others."""

import json
import subprocess

from experiments import metamath
from lorautils import results


def result(day: str, accuracy: float, rate: float, status: str = "success") -> str:
    train = {"status": status, "metrics": [{"test accuracy": accuracy}], "num_trainable_params": 8, "train_time": 90.0}
    config = {"optimizer_kwargs": {"lr": rate}, "max_steps": 5000}
    return json.dumps({"run_info": {"created_at": f"{day}T00:00:00", "train_config": config}, "train_info": train})


def test_an_entry_has_its_earlier_runs_of_the_same_settings(tmp_path):
    def git(*arguments):
        who = ["-c", "user.name=n", "-c", "user.email=n@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", "-C", tmp_path, *who, *arguments], check=True, capture_output=True)

    git("init", "-q")
    for text in (
        result("2025-06-01", 0.5, rate=1e-3),
        result("2025-07-01", 0.6, rate=1e-4),
        result("2025-08-01", 0.0, rate=1e-4, status="failed"),
        result("2026-01-01", 0.7, rate=1e-4),
    ):
        (tmp_path / "lora--llama-3.2-3B-rank32.json").write_text(text)
        git("add", ".")
        git("commit", "-qm", "results")
    found = metamath.entry(tmp_path, "lora--llama-3.2-3B-rank32.json")
    assert found["name"] == "lora rank32"
    assert found["runs"] == [["2025-07-01", 791], ["2026-01-01", 923]]
    assert (found["rate"], found["trained"], found["minutes"]) == (1e-4, 8, 1.5)


def test_the_record_holds_the_whole_table_best_first():
    record = results.read("metamath.json")
    right = [entry["runs"][-1][1] for entry in record["entries"]]
    assert len(right) == 63 and right == sorted(right, reverse=True)
    assert all(0 <= count <= record["of"] for count in right)
