"""Findings as a table for people, and as a document for machines."""

import os
import shutil
import textwrap

from .findings import OK, exit_status


def format_findings(findings, width=None):
    """A line for each finding: topic, level where it is not ``ok``, text; advice below. ``width`` in
    characters, None: the terminal's."""
    width = max(60, min(width or shutil.get_terminal_size((120, 24)).columns, 140))
    first = max(len(finding.topic) for finding in findings) + 2
    lines = []
    for finding in findings:
        start = finding.topic.ljust(first)
        text = finding.text if finding.level == OK else f'{finding.level.upper()}: {finding.text}'
        for number, paragraph in enumerate([text] + (['-> ' + finding.advice] if finding.advice else [])):
            lines += textwrap.wrap(
                paragraph,
                width,
                initial_indent=start if number == 0 else ' ' * first,
                subsequent_indent=' ' * (first + 3 * number),
                break_long_words=False,
                break_on_hyphens=False,
            )
    lines += [
        '',
        (
            'something that was asked for is missing, see above'
            if exit_status(findings)
            else 'nothing that was asked for is missing'
        ),
    ]
    return os.linesep.join(lines)


def document(findings):
    """What --json prints: exit_status, and a list of findings, each with topic, level, text, advice and
    details."""
    return {
        'exit_status': exit_status(findings),
        'findings': [dict(finding._asdict()) for finding in findings],
    }
