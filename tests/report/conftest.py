"""Evaluations to report on."""

import pytest


@pytest.fixture(scope='session')
def sample_folder_of_run(tmp_path_factory):
    """The folder of an evaluation of the built-in sample."""
    from centernet.cli import main

    folder = tmp_path_factory.mktemp('evaluation') / 'eval-pth'
    assert main(['eval-pth', '--device', 'cpu', '--no-progress', '--output', str(folder)]) == 0
    return folder


@pytest.fixture(scope='session')
def sample_run(sample_folder_of_run):
    from centernet.report import load_run

    return load_run(str(sample_folder_of_run))
