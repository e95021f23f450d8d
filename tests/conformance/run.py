"""`make conformance`: runs Transformers' own tests on auss, and writes docs/conformance.md."""

import datetime
import json
import os
import platform
import subprocess
import sys
from collections import Counter
from importlib.metadata import version
from pathlib import Path

import sdist
from skips import KINDS, OURS, SKIPS, Skip, listed

HERE = Path(__file__).parent
REPORT = HERE.parent.parent / "docs" / "conformance.md"
PROCESSES = "2"
# Counted by hand: Mask2Former's own test file is not in the sdist.
MASK2FORMER_OWN = """\
For comparison, Mask2Former's own test file (tests/models/mask2former/test_modeling_mask2former.py in
huggingface/transformers) leaves out or changes twelve tests:

- It skips `test_inputs_embeds`, `test_model_get_set_embeddings`, `test_generate_without_input_ids`,
  `test_resize_tokens_embeddings` and `test_multi_gpu_data_parallel_forward`.
- It switches off `test_missing_keys`, `test_pruning` and `test_head_masking`.
- It replaces `test_hidden_states_output`, `test_attention_outputs`, `test_training` and
  `test_retain_grad_hidden_states_attentions`.

The source distribution does not contain that file. We counted in the newest copy that we had, which is older than this
release. The mixins of this release still have eight of the twelve tests."""


def run(suites: list[str], name: str, quiet: bool) -> dict[str, dict[str, str]]:
    """The outcome of each test of `suites`; what pytest says goes to a file if `quiet`."""
    outcomes = sdist.FOLDER / f"{name}.json"
    outcomes.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-c", str(HERE / "pytest.ini"), "-n", PROCESSES, "-q", "--tb=short"]
    command += ["--outcomes", str(outcomes), *(str(HERE / suite) for suite in suites)]
    # Those that Transformers calls slow too; and nothing from the hub.
    environment = os.environ | {"RUN_SLOW": "1", "HF_HUB_OFFLINE": "1"}
    with open(sdist.FOLDER / f"{name}.txt", "w", encoding="utf-8") as log:
        done = subprocess.run(
            command, env=environment, cwd=HERE, stdout=log if quiet else None, stderr=subprocess.STDOUT
        )
    if done.returncode not in (0, 1):  # 1 is a failed test
        sys.exit(f"pytest stopped with {done.returncode}")
    return json.loads(outcomes.read_text(encoding="utf-8"))


def skipped_tests(outcomes: dict) -> dict[Skip | None, list[str]]:
    """The tests that skipped by their entry in the table; those that have none, by None."""
    tests = {skip: [] for skip in (*SKIPS, None)}
    for test, ended in outcomes.items():
        if ended["outcome"] == "skipped":
            tests[listed(test, ended["reason"])].append(test)
    return tests


def problems(outcomes: dict) -> list[str]:
    """The reasons for which the run fails."""
    found = [f"{test} failed" for test, ended in outcomes.items() if ended["outcome"] == "failed"]
    tests = skipped_tests(outcomes)
    found += [f"{test} skipped, which skips.py does not list: {outcomes[test]['reason']}" for test in tests.pop(None)]
    found += [f"skips.py lists what no test skipped for: {skip.why}" for skip, names in tests.items() if not names]
    return found


def table(header: list[str], rows: list[list], numbers: slice) -> str:
    """A Markdown table; the columns in `numbers` are set to the right."""
    ruler = ["---" for _ in header]
    ruler[numbers] = ["---:"] * len(ruler[numbers])
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in (header, ruler, *rows))


def counts(outcomes: dict) -> list[list]:
    """A row for each class of tests: passed, skipped, failed."""
    found = Counter((test.split("::")[0], ended["outcome"]) for test, ended in outcomes.items())
    classes = dict.fromkeys(test.split("::")[0] for test in outcomes)
    return [[name, *(found[name, outcome] for outcome in ("passed", "skipped", "failed"))] for name in classes]


def skip_rows(outcomes: dict) -> list[list]:
    """A row for each entry of the table: kind, reason, how many tests, and their names."""
    rows = []
    for skip, tests in skipped_tests(outcomes).items():
        if skip is not None:
            names = sorted({test.split("::")[1] for test in tests})
            rows.append([KINDS[skip.kind], skip.why, len(tests), ", ".join(f"`{name}`" for name in names)])
    return rows


def report(ours: dict, theirs: dict) -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in ("transformers", "torch", "timm", "accelerate", "peft"))
    total = Counter(ended["outcome"] for ended in ours.values())
    failed = "; ".join(f"`{test.split('::')[1]}`" for test, ended in theirs.items() if ended["outcome"] == "failed")
    own = "\n".join(f"- `{what.removeprefix('*::')}`: {why}." for what, why in OURS.items())
    header = ["tests", "passed", "skipped", "failed"]
    return f"""\
# Conformance with Transformers

`make conformance` runs Transformers' own tests on auss, in the same way as Transformers runs them on its own models.
It downloads the source distribution of the installed Transformers from PyPI, and copies nothing of it into this
repository.
It wrote this page on {datetime.date.today()}, on a CPU, with Python {platform.python_version()}, {packages}.

**{total["passed"]} passed, {total["skipped"]} skipped, {total["failed"]} failed.**

{table(header, counts(ours), slice(1, 4))}

For comparison, this table shows the same tests of models with Mask2Former, the most similar model of Transformers. It
has a Swin backbone, and no test is skipped or replaced by hand:

{table(header, counts(theirs), slice(1, 4))}

These tests of Mask2Former fail: {failed or "none"}.

## What our harness leaves out or changes

{own}

{MASK2FORMER_OWN}

## All that is skipped, and why

The tests themselves skip everything else. A test that skips only one of its parts counts as skipped. This table comes
from `tests/conformance/skips.py`. The run fails if a test skips and the table does not list it, or if the table has an
entry and no test skips for it.

{table(["kind", "why", "tests", "which"], skip_rows(ours), slice(2, 3))}

## What the tests do not reach

Some things are not tested here, because the machine has no GPU or because the source distribution lacks their tests.
Our own tests cover part of them:

- `tests/modeling_auss/test_pretrained_model.py` tests `device_map="auto"`, offloading to disk, every kind of backbone
  with `attn_implementation` as a plain string, and LoRA on the attention projections with and without checkpoints.
- `test_modeling_auss.py` tests `torch.compile`.
- `test_attention.py` tests that masked attention keeps its mask if a flash kernel is requested. Flash kernels take no
  mask for each query, so Eq. 8 stays on sdpa, and only attention without a mask uses them.
- The source distribution lacks the mixins for exporting. [export.md](export.md#how-equal) describes our own tests.
- Two things have no test here: the mixins for generating text, which the source distribution lacks too, and tensor,
  expert and sharded data parallelism, whose mixins are for language models on several GPUs.
"""


def main() -> None:
    sdist.fetch()
    ours = run(["modeling_suite.py", "processing_suite.py", "pipeline_suite.py"], "auss", quiet=False)
    theirs = run(["mask2former_suite.py"], "mask2former", quiet=True)
    found = problems(ours)
    for kind, why, count, _ in skip_rows(ours):
        print(f"{count:5} skipped: {kind}: {why}")
    for name, *numbers in [*counts(ours), *counts(theirs)]:
        print(f"{name}: {numbers[0]} passed, {numbers[1]} skipped, {numbers[2]} failed")
    if found:
        sys.exit("\n".join(["", *found]))
    REPORT.write_text(report(ours, theirs), encoding="utf-8")
    print(f"written to {REPORT}")


if __name__ == "__main__":
    main()
