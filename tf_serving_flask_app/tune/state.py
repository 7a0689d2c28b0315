"""What has been measured, kept in a file, so that what was interrupted goes on."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from tf_serving_flask_app.errors import ConfigurationError
from tf_serving_flask_app.tune.candidates import Candidate
from tf_serving_flask_app.tune.trials import Final, Trial

SHORTER = 0.5
"""Of a measurement's seconds: results of shorter ones are not taken over."""


class _Kept(BaseModel):
    """The file's content."""

    model_config = ConfigDict(ser_json_inf_nan="constants")

    identity: str
    trials: list[Trial] = []
    final: Final | None = None


class State:
    """Results of one model on one machine.

    Args:
        file: where they are; of another identity, it is begun anew.
        identity: see ``identity.identity_of``.
        fresh: begin anew in any case.

    Raises:
        ConfigurationError: the file cannot be written.
    """

    def __init__(self, file: Path, identity: str, *, fresh: bool = False) -> None:
        self.file = file
        self._kept = _Kept(identity=identity)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            if file.exists():
                kept = _Kept.model_validate_json(file.read_bytes())
                self._kept = kept if kept.identity == identity and not fresh else self._kept
        except (ValidationError, UnicodeDecodeError) as exc:
            raise ConfigurationError(f"{file} does not hold what tune keeps; name another with --state.") from exc
        except OSError as exc:
            raise self._not_writable(exc) from exc
        self._save()

    def trial(self, candidate: Candidate, seconds: float) -> Trial | None:
        """What is known of a candidate, from measurements that were not much shorter."""
        for trial in self._kept.trials:
            long_enough = trial.refused is not None or trial.seconds >= SHORTER * seconds
            if trial.candidate == candidate and long_enough:
                return trial
        return None

    def keep(self, trial: Trial) -> None:
        """Keep a trial, in place of an earlier one."""
        others = [each for each in self._kept.trials if each.candidate != trial.candidate]
        self._kept.trials = [*others, trial]
        self._save()

    def final(self, finalists: Sequence[Candidate], seconds: float) -> Final | None:
        """The final among these, if there was one."""
        final = self._kept.final
        fits = final is not None and list(final.finalists) == list(finalists) and final.seconds >= SHORTER * seconds
        return final if fits else None

    def keep_final(self, final: Final) -> None:
        """Keep a final, in place of the one before."""
        self._kept.final = final
        self._save()

    def _save(self) -> None:
        # Renamed into its place, so that an interruption never leaves half of it.
        half = self.file.with_name(f"{self.file.name}.{os.getpid()}")
        try:
            half.write_text(self._kept.model_dump_json(indent=1), encoding="utf-8")
            half.replace(self.file)
        except OSError as exc:
            raise self._not_writable(exc) from exc

    def _not_writable(self, exc: OSError) -> ConfigurationError:
        return ConfigurationError(f"{self.file} cannot be written ({exc.strerror}); name another with --state.")


def default_file(model: str, identity: str, environ: Mapping[str, str]) -> Path:
    """Where results are kept if the user names no file.

    https://specifications.freedesktop.org/basedir-spec/latest/
    """
    base = environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "tf_serving_flask_app" / "tune" / f"{model}-{identity[:16]}.json"
