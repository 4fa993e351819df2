"""A stranger's first hour: clone, environment, and every step of the documentation's path, each timed, and none by the source.

python benchmarks/first_hour.py FOLDER [--data-dir DIR] [--extra-index-url URL]

FOLDER must not exist. It gets a clone of this repository's last commit, a virtual environment, and a home of its own, so that
nothing that is installed or cached here helps. `--data-dir` names a folder that has MNIST; without it MNIST is downloaded. It
prints a table in Markdown, and ends with exit code 1 if a step ends otherwise than it should.
"""

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Step:
    """A command as a shell takes it, and the exit code that it should have."""

    what: str
    command: str
    code: int = 0


def steps(data_dir: str, index: str) -> list[Step]:
    """Return the steps in order; each begins in the clone."""
    papers = f" --data-dir {data_dir}" if data_dir else ""
    get_mnist = f"fourfold data check mnist{papers}" if data_dir else "fourfold data get mnist"
    run, ticket = "runs/digits-quaternion-*", "ticket.safetensors"
    return [
        Step("install", f"python3 -m venv .venv && .venv/bin/pip install -q -c constraints.txt{index} ."),
        Step("see what there is", "fourfold --help"),
        Step("first experiment", "fourfold run digits --trials 3"),
        Step("folder of photos, here a drawn one", "python examples/photos/draw.py photos"),
        Step(
            "own data, no file to write",
            "fourfold run classify --data photos --size 32 --model resnet-8 --trials 1 --epochs 3 --max-level 2",
        ),
        Step("own network: a file to begin with", "fourfold new mine.py --task classification"),
        Step("its layers, weights and MACs", "fourfold info mine.py"),
        Step("its experiment", "fourfold run mine.py --trials 1 --epochs 2 --max-level 2"),
        Step("data of a paper", get_mnist),
        Step("figure of a paper, small", f"fourfold reproduce p1-fig5 --scale 0.05{papers}"),
        Step("keep a ticket", "fourfold run digits --trials 1 --keep 4"),
        Step("one file", f"fourfold export {run} --level 4 --values int8 --out {ticket}"),
        Step("classify an image", f"fourfold predict {ticket} {{image}} --resize stretch"),
        Step("C, proved equal", f"fourfold export {run} --level 4 --to c --values int8 --out ticket --verify 100"),
        Step("a web page", f"fourfold export {run} --level 4 --to web --values int8 --out page"),
        Step("mistake: a name", "fourfold run digitz", code=2),
        Step("mistake: an option", "fourfold run digits --trails 3", code=2),
        Step("mistake: a unit", "fourfold run digits --budget 9", code=2),
        Step("mistake: a level that was not kept", f"fourfold export {run} --level 2 --out other.safetensors", code=2),
        Step("mistake: data that are not there", "fourfold run classify --data nowhere --model resnet-8", code=2),
    ]


def main() -> None:
    """Clone, take every step, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data-dir", default="", help="a folder that has MNIST")
    parser.add_argument("--extra-index-url", default="", help="where pip finds the small CPU build of torch")
    options = parser.parse_args()
    options.folder.mkdir(parents=True)
    folder = options.folder.resolve()
    clone, home = folder / "fourfold", folder / "home"
    home.mkdir()
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    index = f" --extra-index-url {options.extra_index_url}" if options.extra_index_url else ""
    environment = {name: os.environ[name] for name in os.environ if name in ("LANG", "TERM") or name.startswith("PIP_")}
    environment |= {"HOME": str(home), "PATH": f"{clone / '.venv' / 'bin'}:{os.environ['PATH']}"}
    print("| step | command | seconds | exit code | last line |\n|---|---|---:|---:|---|")
    wrong = 0
    for step in steps(options.data_dir, index):
        command = step.command.replace("{image}", str(next(iter(sorted(clone.glob("photos/*/*.png"))), "seven.png")))
        start = time.monotonic()
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=clone,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        seconds = time.monotonic() - start
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        last = lines[-1].replace(str(clone), ".").replace("|", "\\|") if lines else ""
        print(f"| {step.what} | `{step.command}` | {seconds:.0f} | {done.returncode} | {last[:160]} |", flush=True)
        if done.returncode != step.code:
            wrong += 1
            print("\n".join(lines), file=sys.stderr)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
