"""What a verification found: stages, and in each the numbers that decide."""

from typing import Any, Dict, NamedTuple, Optional, Sequence, Tuple

from ..networks.network import NetworkInfo


class Check(NamedTuple):
    """One number that decides, its limit, and whether it passed."""

    name: str
    value: float
    limit: float
    passed: bool


def at_most(name: str, value: float, limit: float) -> Check:
    """Return the Check of a number that must not exceed its limit; NaN does not pass."""
    return Check(name, value, limit, value <= limit)


class Stage(NamedTuple):
    """The result of one stage.

    Attributes:
        name: ``rules``, ``heads``, ``detections`` or ``metrics``.
        checks: what decides; none if the stage was skipped or impossible.
        facts: what was measured, by its name in the JSON file; :func:`.compare_heads` and so on list it.
        note: why the stage was skipped, or other remarks.
        error: class and message of the error that made the comparison impossible.
    """

    name: str
    checks: Sequence[Check] = ()
    facts: Dict[str, Any] = {}
    note: Optional[str] = None
    error: Optional[Tuple[str, str]] = None

    @property
    def outcome(self) -> str:
        """``passed``, ``failed`` or ``skipped``."""
        if self.error or not all(check.passed for check in self.checks):
            return 'failed'
        return 'passed' if self.checks else 'skipped'

    @property
    def passed(self) -> bool:
        """Whether the stage was run and every check passed."""
        return self.outcome == 'passed'


class Verification(NamedTuple):
    """All stages. ``reference``, ``model``: what is known about the two networks."""

    stages: Tuple[Stage, ...]
    reference: NetworkInfo
    model: NetworkInfo
    notes: Tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether no stage failed and the heads were compared."""
        return not self.failed and self.stage('heads').passed

    @property
    def failed(self) -> Sequence[str]:
        """The names of the stages that failed."""
        return [stage.name for stage in self.stages if stage.outcome == 'failed']

    def stage(self, name: str) -> Stage:
        """Return the stage of that name."""
        return next(stage for stage in self.stages if stage.name == name)
