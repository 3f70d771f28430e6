"""Everything about the package is in setup.cfg; here is only what needs code to say."""

from setuptools import setup

setup()
