"""Runs the build stage of deploy/Containerfile without a container engine, in a folder.

    python tests/unit/deploy/containerfile.py FOLDER

COPY and RUN do in FOLDER what they do in an image: its absolute paths lie below FOLDER, `python`
and `pip` are those of a clean environment. apt-get is left out. With `offline`, what the network
would give is taken from this interpreter's environment: the build's packages and the runtime's,
but not the project itself, which comes from the wheel.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
CONTAINERFILE = ROOT / "deploy" / "Containerfile"
# The image's own folders, by the beginning of their paths.
OWN = re.compile(r"(?<![\w./])/(?=(src|wheels|opt)\b)")


@dataclass(frozen=True)
class Instruction:
    """One instruction; `stage` counts the FROM before it, from 0."""

    stage: int
    name: str
    text: str

    @property
    def words(self) -> list[str]:
        """Its arguments, flags left out."""
        return [one for one in shlex.split(self.text) if not one.startswith("--")]


def parse(text: str) -> list[Instruction]:
    """Read a Containerfile: comments dropped, continued lines joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    found: list[Instruction] = []
    stage = -1
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if line.strip():
            name, _, rest = line.strip().partition(" ")
            stage += name == "FROM"
            found.append(Instruction(stage, name, " ".join(rest.split())))
    return found


def run(folder: Path, *, offline: bool) -> Path:
    """Run the build stage below `folder`; return the `canary` it made."""
    here, python = folder, Path(sys.executable)
    if not offline:
        subprocess.run([python, "-m", "venv", folder / "image"], check=True)
        python = folder / "image" / "bin" / "python"
    for one in parse(CONTAINERFILE.read_text()):
        if one.stage > 0:
            break
        if one.name == "WORKDIR":
            here = folder / one.text.lstrip("/")
            here.mkdir(parents=True)
        elif one.name == "COPY":
            _copy(one.words, here)
        elif one.name == "RUN":
            _run(_command(one.text, folder, python, offline=offline), here, offline=offline)
    return folder / "opt" / "canary" / "bin" / "canary"


def _copy(words: list[str], here: Path) -> None:
    *sources, target = words
    for name in sources:
        source = ROOT / name
        place = here / target
        if source.is_dir():
            built = shutil.ignore_patterns("*.so", "__pycache__", "*_pb2.py*")
            shutil.copytree(source, place, ignore=built, dirs_exist_ok=True)
        else:
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, place)


def _command(command: str, folder: Path, python: Path, *, offline: bool) -> str:
    if command.startswith("apt-get") or (offline and command.startswith("pip install")):
        return "true"
    programs = {"python": str(python), "pip": f"{python} -m pip --quiet"}
    programs["auditwheel"] = f"PATH={python.parent}:$PATH {python} -m auditwheel"
    text = OWN.sub(f"{folder}/", command)
    text = re.sub(r"(^|&& )(python|pip|auditwheel) ", lambda m: f"{m[1]}{programs[m[2]]} ", text)
    return text.replace(" install ", " install --no-index --no-deps ") if offline else text


def _run(command: str, here: Path, *, offline: bool) -> None:
    # Not optimised, the C is compiled in a third of the time.
    quickly = {"CANARY_DEBUG": "1"} if offline else {}
    subprocess.run(["sh", "-ec", command], cwd=here, check=True, env={**os.environ, **quickly})


def environment(*, offline: bool) -> dict[str, str]:
    """Return what the made `canary` runs with; offline, it borrows the packages from here."""
    # Named by path alone, site-packages is not searched for .pth files: an editable project there
    # is not importable.
    borrowed = {"PYTHONPATH": sysconfig.get_path("purelib")} if offline else {}
    return {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **borrowed}


def main() -> None:
    """Build in a folder, with the network, and say what was made."""
    canary = run(Path(sys.argv[1]).absolute(), offline=False)
    for words in (["--version"], ["validate", str(ROOT / "deploy" / "examples" / "rollouts")]):
        subprocess.run([canary, *words], cwd="/", env=environment(offline=False), check=True)


if __name__ == "__main__":
    main()
