"""What a check says."""

from typing import Any, Dict, List, NamedTuple, Optional

OK, WARNING, MISSING = 'ok', 'warning', 'missing'


class Finding(NamedTuple):
    """One line of the report.

    topic: what was looked at. level: OK; WARNING, of use to know; MISSING, something asked for that is not
        there. text: what was
    found. advice: what to do. details: the same for machines, of what JSON can hold.
    """

    topic: str
    level: str
    text: str
    advice: Optional[str] = None
    details: Dict[str, Any] = {}


def exit_status(findings: List[Finding]) -> int:
    """0, or 1 where something that was asked for is missing."""
    return int(any(finding.level == MISSING for finding in findings))


def isolated(topic, check, *arguments) -> List[Finding]:
    """What ``check(*arguments)`` returns, a list of findings; where it fails, a finding that says so."""
    try:
        return check(*arguments)
    except Exception as error:
        return [
            Finding(
                topic,
                WARNING,
                'could not be checked: {}: {}'.format(type(error).__name__, ' '.join(str(error).split())),
            )
        ]
