"""Where models and hypotheses are looked for by name: the working folder, what the environment names, the package."""

from __future__ import annotations

import os
from pathlib import Path

from ad_hypotheses.storage.reading import real_path

MODELS, HYPOTHESES = Path("models"), Path("hypotheses")
REMOTE = "hf:"  # how names begin that mean a model of a hub; a path makes one stroke of the two
VARIABLE = "AD_HYPOTHESES_MODELS"  # a folder of models, for all working folders
PACKAGE = real_path(Path(__file__)).parents[1]


def models_folders(models: Path = MODELS) -> list[Path]:
    """Return the folders in which a model is looked for by its name, the first that holds it counts.

    Args:
        models: A folder that was named, which is then the only one; where it is the usual one, that in the folder
            `$AD_HYPOTHESES_MODELS` names and that of the models installed with the package come after it.
    """
    if models != MODELS:
        return [models]
    named = os.environ.get(VARIABLE)
    return [models, *([Path(named)] if named else []), *installed("models")]


def hypotheses_folders(hypotheses: Path = HYPOTHESES) -> list[Path]:
    """Return the folders in which a hypothesis file is looked for by its name, the first that holds it counts.

    Args:
        hypotheses: A folder that was named, which is then the only one; where it is the usual one, that of the
            hypotheses installed with the package comes after it.
    """
    return [hypotheses, *(installed("hypotheses") if hypotheses == HYPOTHESES else [])]


def known_hypotheses(known: Path = HYPOTHESES / "known") -> Path:
    """Return the folder of the hypothesis files of known networks.

    Args:
        known: A folder that was named; where it is the usual one, and not there, that which was installed with the
            package takes its place.
    """
    places = [known, *(folder / "known" for folder in installed("hypotheses") if known == HYPOTHESES / "known")]
    return next((folder for folder in places if folder.is_dir()), known)


def is_remote(name: str | Path) -> bool:
    """Whether a name means something on a hub, `hf://USER/NAME`."""
    return str(name).startswith(f"{REMOTE}/")


def program() -> str:
    """Return what starts the command line, as a person would type it: `python cli.py` in a clone."""
    return "python cli.py" if (PACKAGE.parent / "cli.py").is_file() else "ad-hypotheses"


def installed(name: str) -> list[Path]:
    """Return the folder of that name that was installed with the package, or none."""
    folder = PACKAGE / "installed" / name
    return [folder] if folder.is_dir() else []
