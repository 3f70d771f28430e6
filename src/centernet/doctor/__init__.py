"""What is installed, patched, compiled, visible and mounted here, and what to do about the rest.

Made for the moment when something is broken: this package needs the standard library alone, imports of other
packages happen in processes of their own, and a check that fails takes no other with it.
"""

from .examine import Asked, examine
from .findings import Finding, exit_status
from .report import document, format_findings

__all__ = ['Asked', 'Finding', 'document', 'examine', 'exit_status', 'format_findings']
