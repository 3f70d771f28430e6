"""Report what is installed, compiled and visible, and what is missing.

Needs only the standard library: other packages are imported in a separate process (:mod:`.probe`), so a
broken one cannot take the report down with it.
"""

from .checks import Finding, examine

__all__ = ['Finding', 'examine']
